#!/usr/bin/env perl
#
# report.pl FOLDER TARGETS MACHINE [quick]: from FOLDER/results.tsv writes
# results.md, the medians (least to greatest) and the ratios of variants that took
# turns, and plots of them.

use strict;
use warnings;
use List::Util qw(first max min);

my ($folder, $targets, $machine, $quick) = @ARGV;

# By part and scenario, in their order: {variants => [names], unit, values => {variant => [by repetition]}}
my (@scenarios, %scenarios);
open(my $in, '<', "$folder/results.tsv") or die "$folder/results.tsv: $!\n";
while (<$in>)
{
	chomp;
	my ($part, $name, $variant, $unit, $repetition, $value) = split /\t/;
	my $scenario = $scenarios{"$part\t$name"} //= do
	{
		push @scenarios, my $new = { part => $part, name => $name, unit => $unit, variants => [], values => {} };
		$new;
	};
	push $scenario->{variants}->@*, $variant unless $scenario->{values}->{$variant};
	$scenario->{values}->{$variant}->[ $repetition - 1 ] = $value;
}

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	my $middle = int(@sorted / 2);
	return @sorted % 2 ? $sorted[$middle] : ($sorted[ $middle - 1 ] + $sorted[$middle]) / 2;
}

# Three digits that count, thousands apart
sub number
{
	my ($value) = @_;
	return sprintf('%.*f', $value < 1 ? 3 : $value < 10 ? 2 : 1, $value) if $value < 100;
	my $text = sprintf('%.0f', $value);
	1 while $text =~ s/^(\d+)(\d{3})/$1,$2/;
	return $text;
}

sub spread
{
	my ($format, @values) = @_;
	return $format->(median(@values)) . (@values > 1 ? ' (' . $format->(min(@values)) . '–' . $format->(max(@values)) . ')' : '');
}

sub ratios
{
	my ($scenario, $variant, $base) = @_;
	my ($values, $bases) = map { $scenario->{values}->{$_} } $variant, $base;
	return map { $values->[$_] / $bases->[$_] } grep { $bases->[$_] } 0 .. min($#$values, $#$bases);
}

my $ratio = sub { sprintf('%.2f', $_[0]) };

sub write_targets
{
	my ($out) = @_;
	my @rows;

	open(my $in, '<', $targets) or die "$targets: $!\n";
	while (<$in>)
	{
		chomp;
		next if /^#/ || /^$/;
		my ($what, $part, $name, $variant, $base, $bound) = split /\t/;
		my $scenario = first { $_->{part} eq $part && index($_->{name}, $name) == 0 && $_->{values}->{$variant} && ($base eq '-' || $_->{values}->{$base}) } @scenarios;
		next unless $scenario;
		my @values = $base eq '-' ? $scenario->{values}->{$variant}->@* : ratios($scenario, $variant, $base);
		my ($operator, $limit) = $bound =~ /^([<>])=(.*)/;
		my $reached = $operator eq '>' ? median(@values) >= $limit : median(@values) <= $limit;
		my $format = $base eq '-' ? \&number : $ratio;
		push @rows, sprintf("| %s | %s %s | %s | %s |\n", $what, $operator eq '>' ? 'at least' : 'at most', $base eq '-' ? number($limit) : $limit, spread($format, @values), $reached ? 'yes' : '**no**');
	}
	print $out "| what | target | measured | reached |\n|---|---|---|---|\n", @rows, "\n" if @rows;
}

sub write_scenario
{
	my ($out, $scenario) = @_;
	my $base = $scenario->{variants}->[0];
	my $compared = $scenario->{variants}->@* > 1;

	print $out "**$scenario->{name}**\n\n| | $scenario->{unit} |", $compared ? " to $base |" : '', "\n|---|---:|", $compared ? '---:|' : '', "\n";
	for my $variant ($scenario->{variants}->@*)
	{
		print $out "| $variant | ", spread(\&number, $scenario->{values}->{$variant}->@*), ' |';
		print $out ' ', spread($ratio, ratios($scenario, $variant, $base)), ' |' if $compared;
		print $out "\n";
	}
	print $out "\n";
}

# A bar for each variant with the least and the greatest value, or a curve if the
# variants are numbers.
sub plot
{
	my ($scenario) = @_;
	my $curve = !grep { !/^\d+$/ } $scenario->{variants}->@*;
	my $name = lc("$scenario->{part}-$scenario->{name}") =~ s/[^a-z0-9]+/-/gr;
	my $data = '';

	return if $scenario->{variants}->@* < 2;
	my $i = 0;
	for my $variant ($scenario->{variants}->@*)
	{
		my @values = $scenario->{values}->{$variant}->@*;
		$data .= join("\t", $i++, $variant, median(@values), min(@values), max(@values)) . "\n";
	}
	my $title = $scenario->{name} =~ s/'/''/gr;
	my $style = $curve
		? "set logscale x; plot \$data using 2:3:4:5 with yerrorlines linewidth 2 pointtype 7 linecolor rgb '#336791' notitle"
		: "set style fill solid 0.8; set boxwidth 0.6; set xtics rotate by -30; plot \$data using 1:3:xtic(2) with boxes linecolor rgb '#336791' notitle, \$data using 1:3:4:5 with yerrorbars linecolor rgb '#333333' pointtype 0 notitle";
	open(my $gnuplot, '|-', 'gnuplot') or die "gnuplot: $!\n";
	print $gnuplot "set terminal svg size 640,360 font 'sans,12' background rgb 'white'\nset output '$folder/$name.svg'\n",
		"set title '$title'\nset ylabel '$scenario->{unit}'\nset yrange [0:*]\nset grid ytics\nset datafile separator '\\t'\n",
		"\$data << END\n${data}END\n$style\n";
	close($gnuplot) or warn "gnuplot failed for $name\n";
	return "$name.svg";
}

open(my $out, '>', "$folder/results.md") or die "$folder/results.md: $!\n";
print $out "$machine. Medians of repetitions in which the variants took turns, (least–greatest); ratios are of the same repetition.",
	$quick ? ' A quick run: its figures are rough.' : '', "\n\n";
write_targets($out);
my $part = '';
for my $scenario (@scenarios)
{
	print $out "### $scenario->{part}\n\n" if $part ne $scenario->{part};
	$part = $scenario->{part};
	write_scenario($out, $scenario);
	my $file = plot($scenario);
	print $out "![$scenario->{name}]($file)\n\n" if $file && !grep { !/^\d+$/ } $scenario->{variants}->@*;
}
close($out);
