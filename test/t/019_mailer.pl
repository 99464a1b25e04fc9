# The example of a mailer in Node.js: several of them under load, behind
# PgBouncer, killed again and again.  Every mail is sent, in order for each user,
# and again only if a mailer was killed between sending and settling.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Copy qw(copy);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

foreach my $program (qw(node npm))
{
	plan skip_all => "$program is not installed" unless eval { run_log([ $program, '--version' ], '>', '/dev/null') };
}

my $LOAD_SECONDS = 8;
my $LEASE = '5s';
my $here = abs_path(dirname(__FILE__));
my $example = "$here/../../examples/mailer";
my $folder = PostgreSQL::Test::Utils::tempdir;
my $timeout = $PostgreSQL::Test::Utils::timeout_default;

# The dependencies, by name; the home of whoever tests may not be writable.
mkdir "$folder/mailer" or die $!;
copy("$example/$_", "$folder/mailer/$_") or die "$_: $!" foreach qw(package.json mailer.js reader.js);
{
	local $ENV{npm_config_cache} = "$folder/npm";
	local $ENV{HOME} = $folder;
	ok(run_log([ 'npm', 'install', '--no-audit', '--no-fund', '--loglevel=error', '--prefix', "$folder/mailer" ]), 'npm install')
	  or BAIL_OUT('the example cannot be installed');
}

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'goes'
max_connections = 60
restart_after_crash = on
});
$node->start;
$node->safe_psql('postgres', slurp_file("$example/model.sql"));
$node->safe_psql('postgres', q{
SELECT goes_alter_reactor('mailer', max_attempts => 1000, backoff => '100ms', max_backoff => '1s');
CREATE FUNCTION id(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN lpad(n::text, 32, '0')::uuid;
SELECT count(goes_do('user.register', id(n), jsonb_build_object('email', 'user' || n || '@example.com'))) FROM generate_series(1, 100) n;
-- Each lease, as it was given
CREATE TABLE leases (seq bigint GENERATED ALWAYS AS IDENTITY, position bigint, due_at timestamptz, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION note_lease() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN INSERT INTO public.leases (position, due_at) VALUES (NEW.position, NEW.due_at); RETURN NULL; END $$;
CREATE TRIGGER note_lease AFTER INSERT OR UPDATE ON goes.pending FOR EACH ROW WHEN (NEW.leased) EXECUTE FUNCTION note_lease();
CREATE TABLE mails (seq bigint GENERATED ALWAYS AS IDENTITY, sender text, recipient text, event_id uuid, token text);
});

sub sql
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

# What runs beside the server; none of it outlives the test.
my ($pooler, $sink, $load, %mailers);
END
{
	my $status = $?;

	foreach my $run (grep { defined } $pooler, $sink, $load, map { $_->{run} } values %mailers)
	{
		eval { $run->kill_kill if $run->pumpable };
	}
	$? = $status;
}

# PgBouncer, a database for each pool mode
my $pgbouncer = (grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin')[0];
my ($host, $port, @modes) = ($node->host, $node->port, 'postgres');
if (defined $pgbouncer)
{
	my $user = sql('SELECT current_user');

	$host = PostgreSQL::Test::Utils::tempdir_short;
	@modes = qw(transaction statement session);
	append_to_file("$host/ini", join "\n", '[databases]',
		(map { "$_ = host=@{[$node->host]} port=$port dbname=postgres user=$user pool_mode=$_ pool_size=15" } @modes),
		'[pgbouncer]', 'listen_addr =', "unix_socket_dir = $host", 'listen_port = 6432', 'auth_type = any', 'server_login_retry = 1',
		"logfile = $host/log", 'ignore_startup_parameters = extra_float_digits', '');
	$port = 6432;
	$pooler = IPC::Run::start([ $pgbouncer, '-q', "$host/ini" ], '<', '/dev/null', '>', "$host/out", '2>&1');
	usleep(50_000) until -S "$host/.s.PGSQL.6432" || !$pooler->pumpable;
	ok($pooler->pumpable, 'PgBouncer runs') or diag(slurp_file("$host/out"));
}

# The mail server; its port stays the same.
my $smtp_port;
sub start_sink
{
	my $out = '';

	$sink = IPC::Run::start([ 'node', "$here/smtp_sink.cjs", "$folder/mails", $smtp_port // () ],
		'<', '/dev/null', '>', \$out, '2>', "$folder/sink_err");
	$sink->pump until $out =~ /^(\d+)\n/;
	$smtp_port = $1;
	return;
}

sub stop_sink
{
	$sink->signal('KILL');
	$sink->finish;
	return;
}
append_to_file("$folder/mails", '');
start_sink();

# The mails that were accepted since the last time, for SQL
my $loaded = 0;
sub load_mails
{
	my @mails = split /\n/, slurp_file("$folder/mails");

	sql(qq{INSERT INTO mails (sender, recipient, event_id, token) SELECT sender, "to", id, token FROM jsonb_to_recordset('[}
		  . join(',', @mails[ $loaded .. $#mails ])
		  . q{]') AS m(sender text, "to" text, id uuid, token text)}) if @mails > $loaded;
	$loaded = @mails;
	return $loaded;
}

# A mailer; each has a name, which it tells the mail server, and another pool mode.
my $started = 0;
sub start_mailer
{
	my $name = 'm' . ++$started;
	local $ENV{PGHOST} = $host;
	local $ENV{PGPORT} = $port;
	local $ENV{PGDATABASE} = $modes[ $started % @modes ];
	local $ENV{PGUSER} = sql('SELECT current_user');
	local $ENV{LEASE} = $LEASE;
	local $ENV{WAIT} = '1s';
	local $ENV{SMTP_URL} = "smtp://127.0.0.1:$smtp_port/?name=$name";

	$mailers{$name} = { run => IPC::Run::start([ 'node', "$folder/mailer/mailer.js" ], '<', '/dev/null', '>', "$folder/$name.out", '2>', "$folder/$name.err") };
	return $name;
}

sub kill_mailer
{
	my ($name) = @_;

	$mailers{$name}{run}->signal('KILL');
	$mailers{$name}{run}->finish;
	$mailers{$name}{killed} = 1;
	return;
}

# Ends mailers as a service manager does.
sub stop_mailers
{
	my (@names) = @_;

	$mailers{$_}{run}->signal('TERM') foreach @names;
	foreach my $name (@names)
	{
		$mailers{$name}{run}->finish;
		is($mailers{$name}{run}->result(0), 0, "$name: ends in peace") or diag(slurp_file("$folder/$name.err"));
	}
	return;
}

# Waits until code returns true.
sub wait_for
{
	my ($what, $code) = @_;

	foreach (1 .. 20 * $timeout)
	{
		return pass($what) if $code->();
		usleep(50_000);
	}
	return fail($what);
}

# ---------------------------------------------------------------------------
# Killed under load
# ---------------------------------------------------------------------------
append_to_file("$folder/load.sql", "\\set n random(1, 100)\nSELECT goes_do('user.request_password_reset', id(:n)) IS NOT NULL;\n");
my ($load_out, $load_err) = ('', '');
$load = IPC::Run::start([ 'pgbench', '-n', '-h', $host, '-p', $port, '-U', sql('SELECT current_user'), '-c', 2, '-R', 60, '-T', 600, '-f', "$folder/load.sql", $modes[0] ],
	'>', \$load_out, '2>', \$load_err);
my @running = map { start_mailer() } 1 .. 3;
my $end = time + $LOAD_SECONDS;
my $kills = 0;
while (time < $end || $kills < 5)
{
	my $i = int rand @running;
	my $name = $running[$i];

	# when it has begun to send, at any moment
	usleep(10_000) until slurp_file("$folder/mails") =~ /"sender":"$name"/ || !$load->pumpable;
	usleep(rand 100_000);
	kill_mailer($name);
	$kills++;
	$running[$i] = start_mailer();
}
ok($load->pumpable, 'there was load all the time') or diag($load_err);
$load->signal('TERM');
$load->finish;
unlike($load_err, qr/error/i, 'load: no errors');
is(sql(q{SELECT goes_wait('mailer', timeout => '150s')}), 't', 'all is settled');
stop_mailers(@running);
is(sql('SELECT count(*) FROM goes.pending'), '0', 'nothing is left');
cmp_ok(load_mails(), '>', 100, 'mails were sent');

is(sql(q{SELECT position FROM users_events e WHERE action = 'password_reset_requested' AND NOT EXISTS (SELECT FROM mails m WHERE m.event_id = e.id) LIMIT 5}), '', 'every mail is sent');
is(sql(q{SELECT m FROM mails m LEFT JOIN users_events e ON e.id = m.event_id WHERE e.id IS NULL OR e.data ->> 'email' <> m.recipient OR e.data ->> 'reset_token_hash' IS DISTINCT FROM hash_token(m.token) LIMIT 5}), '', 'to whom it is for, with the token');
is(sql(q{SELECT m FROM (SELECT m, e.aggregate_version AS version, lag(e.aggregate_version) OVER (PARTITION BY e.aggregate_id ORDER BY m.seq) AS before
FROM mails m JOIN users_events e ON e.id = m.event_id) x WHERE version < before LIMIT 5}), '', 'in order for each user');
is(sql('SELECT count(*) FROM goes.dead_letters'), '0', 'none is given up');

# A mail is sent again only if its event was handed on, which only a lease that
# ends does: that of a mailer that was killed, or took too long, but then it has
# settled it all the same.
is(sql(q{SELECT position FROM (SELECT *, lag(due_at) OVER (PARTITION BY position ORDER BY seq) AS ends FROM leases) l WHERE at < ends LIMIT 5}), '', 'no event is handed on before its lease ends');
is(sql(q{SELECT position FROM users_events e WHERE (SELECT count(*) FROM leases l WHERE l.position = e.position) < (SELECT count(*) FROM mails m WHERE m.event_id = e.id) LIMIT 5}),
	'', 'no mail is sent more often than its event was fetched');
is(sql(q{SELECT r.processed - count(*) FROM goes_stat_reactors r, users_events e WHERE r.reactor = 'mailer' AND e.action = 'password_reset_requested' GROUP BY r.processed}),
	'0', 'each is settled once');
my @repeated = map { [ split /\|/ ] } split /\n/, sql(q{SELECT m.sender, e.position
FROM (SELECT *, lead(seq) OVER (PARTITION BY event_id ORDER BY seq) AS again FROM mails) m
JOIN users_events e ON e.id = m.event_id WHERE again IS NOT NULL ORDER BY e.position});
note "$kills kills, $loaded mails, " . @repeated . ' of them repeated';
is(join(',', map { "@$_" } grep { my ($name, $position) = @$_; !$mailers{$name}{killed} && slurp_file("$folder/$name.out") !~ /^mailed $position$/m } @repeated),
	'', 'none is sent again but what a mailer had not settled when it was killed');

# ---------------------------------------------------------------------------
# Refused mails
# ---------------------------------------------------------------------------
my $survivor = start_mailer();
sql(q{SELECT goes_alter_reactor('mailer', max_attempts => 3, backoff => '10ms');
SELECT goes_do('user.register', id(201), '{"email": "once@example.com"}'), goes_do('user.register', id(202), '{"email": "never@example.com"}');
SELECT goes_do('user.request_password_reset', id(201)), goes_do('user.request_password_reset', id(202)), goes_do('user.request_password_reset', id(1))});
is(sql(q{SELECT goes_wait('mailer', timeout => '150s')}), 't', 'refused: all is settled');
load_mails();
is(sql(q{SELECT count(*) FROM mails WHERE recipient = 'once@example.com'}), '1', 'refused once: sent again');
is(sql(q{SELECT attempts, error ~ '554' AND error ~ 'rejected' AND error ~ '\*\*\*', error ~ '[0-9a-f]{8}-[0-9a-f]{4}' FROM goes_dead_letters}), '3|t|f', 'refused always: a dead letter, which tells why, without the token')
  or diag(sql('SELECT * FROM goes_dead_letters'));
is(sql(q{SELECT failed >= 4 AND dead = 1 FROM goes_stat_reactors WHERE reactor = 'mailer'}), 't', 'refused: statistics');

# ---------------------------------------------------------------------------
# The server crashes before a mail is sent
# ---------------------------------------------------------------------------
sql(q{SELECT goes_alter_reactor('mailer', max_attempts => 1000, backoff => '300ms', max_backoff => '300ms')});
stop_sink();
sql(q{SELECT count(goes_do('user.request_password_reset', id(n))) FROM generate_series(11, 13) n});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 3 AND min(attempts) > 0 FROM goes.pending'), 'crash: mails are waiting');
my $lost = sql('SELECT string_agg(position::text, $$ $$ ORDER BY position) FROM goes.pending');
$node->stop('immediate');
$node->start;
start_sink();
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM users_events WHERE action = 'password_reset_requested' AND position > (SELECT max(p::bigint) FROM unnest(string_to_array('} . $lost . q{', ' ')) p)}),
	'crash: the mailer has requested new tokens');
is(sql(q{SELECT goes_wait('mailer', timeout => '150s')}), 't', 'crash: all is settled');
ok($mailers{$survivor}{run}->pumpable, 'crash: the mailer has survived it');
like(slurp_file("$folder/$survivor.out"), qr/^replaced $_$/m, "crash: it has replaced the token of $_") foreach split / /, $lost;
load_mails();
is(sql(q{SELECT count(*), bool_and(u.reset_token_hash = hash_token(m.token)) FROM users u
JOIN LATERAL (SELECT * FROM mails m WHERE m.recipient = u.email ORDER BY seq DESC LIMIT 1) m ON true WHERE u.id IN (id(11), id(12), id(13))}), '3|t', 'crash: who requested one has a token that is valid');
is(sql(qq{SELECT count(*) FROM mails JOIN users_events e ON e.id = event_id WHERE e.position = ANY ('{@{[$lost =~ s/ /,/gr]}}')}), '0', 'crash: no mail without a token was sent');

# The token is good for what it is for, once.
my $reset = sql(q{SELECT token FROM mails WHERE recipient = 'user11@example.com' ORDER BY seq DESC LIMIT 1});
my $command = "SELECT goes_do('user.reset_password', id(11), '{\"token\": \"$reset\", \"password_hash\": \"x\"}') ->> 'action'";
is(sql($command), 'password_reset', 'the token is valid');
isnt($node->psql('postgres', $command), 0, 'but not again');

# The pooler loses all its connections.
sql(q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'mailer'});
sql(q{SELECT goes_do('user.request_password_reset', id(14))});
is(sql(q{SELECT goes_wait('mailer', timeout => '150s')}), 't', 'connections lost: all is settled');
stop_mailers($survivor);

# ---------------------------------------------------------------------------
# The reader, which keeps its own position
# ---------------------------------------------------------------------------
{
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGDATABASE} = 'postgres';
	local $ENV{PGUSER} = sql('SELECT current_user');
	my ($out, $err) = ('', '');
	my $from = sql('SELECT max(position) - 20 FROM users_events');

	my $reader = IPC::Run::start([ 'node', "$folder/mailer/reader.js", $from ], '<', '/dev/null', '>', "$folder/reader.out", '2>', "$folder/reader.err");
	my $expected = sub { return sql("SELECT position FROM users_events WHERE position > $from ORDER BY position") };
	my $got = sub { return join "\n", slurp_file("$folder/reader.out") =~ /^(\d+) user\./mg };
	my $all = $expected->();
	wait_for('reader: it reads on from its position', sub { $got->() eq $all }) or diag($got->());
	foreach my $i (1 .. 3)
	{
		sql("SELECT goes_do('user.request_password_reset', id($i))");
		$all = $expected->();
		wait_for("reader: it is notified, $i", sub { $got->() eq $all }) or diag($got->());
	}
	$reader->signal('TERM');
	$reader->finish;
	is(slurp_file("$folder/reader.err"), '', 'reader: no errors');
}

stop_sink();
SKIP:
{
	skip 'PgBouncer is not installed: the mailers were connected to the server itself', 3 unless defined $pooler;
	my $log = slurp_file("$host/log");

	like($log, qr{: $_/\S+ login attempt}, "PgBouncer has served mailers in mode $_") foreach @modes;
	$pooler->signal('INT');
	$pooler->finish;
}
$node->stop;
done_testing();
