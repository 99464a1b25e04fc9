/*-------------------------------------------------------------------------
 *
 * dataflow.c
 *	  The picture of the registered model.
 *
 * Of each type its commands lead to events, those to calculators, and these to
 * the aggregate; events lead to reactors too.  Which event a build function
 * makes is not known, unless the command is registered with one: then its way
 * is dashed, and goes to all events of the type through one node, since an edge
 * to each would hide all others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "model.h"
#include "reactor.h"
#include "registry.h"
#include "relation.h"
#include "utils/builtins.h"

/* ---------------------------------------------------------------------------
 * Drawing
 * ---------------------------------------------------------------------------
 */

typedef enum Kind
{
	COMMAND,
	CHOICE,						/* one of several events */
	EVENT,
	CALCULATOR,
	AGGREGATE,
	REACTOR
} Kind;

/* How nodes look: what is around the label, and the attributes */
static const struct
{
	const char *begin;			/* mermaid */
	const char *end;
	const char *attributes;		/* dot */
}			shapes[] = {
	[COMMAND] = {"[/", "/]", "shape=parallelogram"},
	[CHOICE] = {"{", "}", "shape=diamond"},
	[EVENT] = {"([", "])", "shape=box, style=rounded"},
	[CALCULATOR] = {"[[", "]]", "shape=component"},
	[AGGREGATE] = {"[(", ")]", "shape=cylinder"},
	[REACTOR] = {"{{", "}}", "shape=hexagon"}
};

typedef struct Drawing
{
	bool		dot;			/* else mermaid */
	int			ids;			/* that nodes and groups have got */
	StringInfoData text;
	StringInfoData edges;		/* are written when all nodes are */
} Drawing;

static void
append_dot(StringInfo out, char c)
{
	switch (c)
	{
		case '"':
		case '\\':
			appendStringInfoChar(out, '\\');
			appendStringInfoChar(out, c);
			break;
		case '\n':
			appendStringInfoString(out, "\\n");
			break;
			/* Entities of HTML are replaced */
		case '&':
			appendStringInfoString(out, "&amp;");
			break;
		default:
			appendStringInfoChar(out, c);
	}
}

static bool
is_word(char c)
{
	return IS_HIGHBIT_SET(c) || (c >= '0' && c <= '9') ||
		(c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/*
 * Mermaid takes labels for Markdown and HTML, unless characters are written as
 * numbers.  Those that only separate words mean nothing there.
 */
static void
append_mermaid(StringInfo out, char before, char c, char after)
{
	if (is_word(c) ||
		(strchr("._- ", c) != NULL && is_word(before) && is_word(after)))
		appendStringInfoChar(out, c);
	else
		appendStringInfo(out, "#%d;", c);
}

static void
append_label(const Drawing *drawing, StringInfo out, const char *label)
{
	appendStringInfoChar(out, '"');
	for (const char *c = label; *c != '\0'; c++)
	{
		if (drawing->dot)
			append_dot(out, *c);
		else
			append_mermaid(out, c > label ? c[-1] : '\0', c[0], c[1]);
	}
	appendStringInfoChar(out, '"');
}

/* Nodes that follow are of the group, which begins here. */
static void
begin_group(Drawing *drawing, const char *label)
{
	StringInfo	out = &drawing->text;

	appendStringInfo(out, drawing->dot ? "  subgraph cluster%d {\n    label=" : "  subgraph g%d[",
					 ++drawing->ids);
	append_label(drawing, out, label);
	appendStringInfoString(out, drawing->dot ? ";\n" : "]\n");
}

static void
end_group(Drawing *drawing)
{
	appendStringInfoString(&drawing->text, drawing->dot ? "  }\n" : "  end\n");
}

/* Returns the number by which edges know it. */
static int
add_node(Drawing *drawing, Kind kind, const char *label)
{
	StringInfo	out = &drawing->text;
	int			id = ++drawing->ids;

	appendStringInfo(out, "    n%d%s", id,
					 drawing->dot ? " [label=" : shapes[kind].begin);
	append_label(drawing, out, label);
	if (drawing->dot)
		appendStringInfo(out, ", %s];\n", shapes[kind].attributes);
	else
		appendStringInfo(out, "%s\n", shapes[kind].end);
	return id;
}

static void
add_edge(Drawing *drawing, int from, int to)
{
	appendStringInfo(&drawing->edges, drawing->dot ? "  n%d -> n%d;\n" : "  n%d --> n%d\n",
					 from, to);
}

static void
add_dashed_edge(Drawing *drawing, int from, int to)
{
	appendStringInfo(&drawing->edges,
					 drawing->dot ? "  n%d -> n%d [style=dashed];\n" : "  n%d -.-> n%d\n",
					 from, to);
}

static void
add_labelled_edge(Drawing *drawing, int from, int to, const char *label)
{
	StringInfo	out = &drawing->edges;

	appendStringInfo(out, drawing->dot ? "  n%d -> n%d [label=" : "  n%d -->|", from,
					 to);
	append_label(drawing, out, label);
	if (drawing->dot)
		appendStringInfoString(out, "];\n");
	else
		appendStringInfo(out, "| n%d\n", to);
}

static void
begin_drawing(Drawing *drawing, bool dot)
{
	drawing->dot = dot;
	drawing->ids = 0;
	initStringInfo(&drawing->text);
	initStringInfo(&drawing->edges);
	appendStringInfoString(&drawing->text,
						   dot ? "digraph goes {\n  rankdir=LR;\n" : "flowchart LR\n");
}

static char *
end_drawing(Drawing *drawing)
{
	appendStringInfoString(&drawing->text, drawing->edges.data);
	if (drawing->dot)
		appendStringInfoString(&drawing->text, "}\n");
	/* Whoever prints it ends the last line */
	drawing->text.data[--drawing->text.len] = '\0';
	return drawing->text.data;
}

/* ---------------------------------------------------------------------------
 * The model
 * ---------------------------------------------------------------------------
 */

/* A type whose nodes are drawn */
typedef struct Drawn
{
	GoesAggregateType *type;
	int		   *events;			/* their nodes, in the order of the type's */
} Drawn;

/* Is it the last version of its action?  They are ordered by both. */
static bool
is_latest(const GoesAggregateType *type, int event)
{
	return event + 1 == type->nevents ||
		strcmp(type->event_types[event].action, type->event_types[event + 1].action) != 0;
}

/* As patterns name it; with a version where it is not the only one, or the first. */
static char *
event_label(const GoesAggregateType *type, int event)
{
	const GoesEventType *event_type = &type->event_types[event];

	if (event_type->version == 1 && is_latest(type, event))
		return psprintf("%s.%s", type->name, event_type->action);
	return psprintf("%s.%s.%d", type->name, event_type->action, event_type->version);
}

/* Which event a build function makes is only known if one was registered. */
static bool
is_undeclared(const GoesCommandType *command)
{
	return command->event == NULL;
}

static int
draw_choice(Drawing *drawing, const GoesAggregateType *type)
{
	for (int i = 0; i < type->ncommands; i++)
	{
		if (is_undeclared(&type->command_types[i]))
			return add_node(drawing, CHOICE, "one of");
	}
	return 0;
}

static void
draw_commands(Drawing *drawing, const Drawn *drawn, const int *commands, int choice)
{
	const GoesAggregateType *type = drawn->type;

	for (int i = 0; i < type->ncommands; i++)
	{
		const GoesCommandType *command = &type->command_types[i];

		if (is_undeclared(command))
			add_dashed_edge(drawing, commands[i], choice);
		for (int j = 0; j < type->nevents && !is_undeclared(command); j++)
		{
			if (is_latest(type, j) && strcmp(type->event_types[j].action, command->event) == 0)
				add_edge(drawing, commands[i], drawn->events[j]);
		}
	}
	for (int j = 0; j < type->nevents && choice != 0; j++)
	{
		if (is_latest(type, j))
			add_dashed_edge(drawing, choice, drawn->events[j]);
	}
}

/* The upcaster of an event to the next version, if that is the next event. */
static const char *
upcaster_of(const GoesAggregateType *type, int event)
{
	const GoesEventType *event_type = &type->event_types[event];

	if (is_latest(type, event) || event_type[1].version != event_type->version + 1)
		return NULL;
	for (int i = 0; i < type->nupcasters; i++)
	{
		if (type->upcasters[i].from_version == event_type->version &&
			strcmp(type->upcasters[i].action, event_type->action) == 0)
			return goes_function_name(type->upcasters[i].function);
	}
	return NULL;
}

/*
 * The node of an event's calculator, which it may share with other events; that
 * of the aggregate if it has none.
 */
static int
draw_calculator(Drawing *drawing, const GoesAggregateType *type, int event,
				int *calculators, int aggregate)
{
	const char *calculator = type->event_types[event].calculator;

	if (calculator == NULL)
		return aggregate;
	for (int i = 0; i < event; i++)
	{
		if (calculators[i] != 0 &&
			strcmp(type->event_types[i].calculator, calculator) == 0)
			return calculators[i];
	}
	calculators[event] = add_node(drawing, CALCULATOR, calculator);
	add_edge(drawing, calculators[event], aggregate);
	return calculators[event];
}

/* Events of an old version are turned into the next one and not calculated. */
static void
draw_calculators(Drawing *drawing, const Drawn *drawn)
{
	const GoesAggregateType *type = drawn->type;
	int		   *calculators = palloc0(Max(1, type->nevents) * sizeof(int));
	int			aggregate = add_node(drawing, AGGREGATE, goes_relation_name(type->relation));

	for (int i = 0; i < type->nevents; i++)
	{
		const char *upcaster = upcaster_of(type, i);

		if (upcaster != NULL)
			add_labelled_edge(drawing, drawn->events[i], drawn->events[i + 1], upcaster);
		else
			add_edge(drawing, drawn->events[i],
					 draw_calculator(drawing, type, i, calculators, aggregate));
	}
}

static Drawn *
draw_type(Drawing *drawing, GoesAggregateType *type)
{
	Drawn	   *drawn = palloc(sizeof(Drawn));
	int		   *commands = palloc(Max(1, type->ncommands) * sizeof(int));
	int			choice;

	drawn->type = type;
	drawn->events = palloc(Max(1, type->nevents) * sizeof(int));
	begin_group(drawing, type->name);
	for (int i = 0; i < type->ncommands; i++)
		commands[i] = add_node(drawing, COMMAND, type->command_types[i].full_name);
	choice = draw_choice(drawing, type);
	for (int i = 0; i < type->nevents; i++)
		drawn->events[i] = add_node(drawing, EVENT, event_label(type, i));
	draw_commands(drawing, drawn, commands, choice);
	draw_calculators(drawing, drawn);
	end_group(drawing);
	return drawn;
}

/* Edges from the events of a type that the reactor reacts to. */
static void
draw_reactions(Drawing *drawing, const GoesReactor *reactor, const Drawn *drawn,
			   int node)
{
	const GoesAggregateType *type = drawn->type;

	for (int i = 0; i < type->nevents; i++)
	{
		GoesEvent	event = {
			.aggregate_type = type->name,
			.action = type->event_types[i].action,
			.event_version = type->event_types[i].version
		};

		if (goes_reactor_matches(reactor, &event))
			add_edge(drawing, drawn->events[i], node);
	}
}

static void
draw_reactor(Drawing *drawing, const GoesReactor *reactor, List *types)
{
	int			node = add_node(drawing, REACTOR, reactor->name);
	ListCell   *cell;

	foreach(cell, types)
	{
		const Drawn *drawn = lfirst(cell);

		if (goes_reactor_gets_events(reactor, drawn->type->relation, drawn->type->events))
			draw_reactions(drawing, reactor, drawn, node);
	}
}

static void
draw_reactors(Drawing *drawing, GoesMode mode, const char *label, List *reactors,
			  List *types)
{
	bool		any = false;
	ListCell   *cell;

	foreach(cell, reactors)
	{
		const GoesReactor *reactor = lfirst(cell);

		if (reactor->mode != mode)
			continue;
		if (!any)
			begin_group(drawing, label);
		any = true;
		draw_reactor(drawing, reactor, types);
	}
	if (any)
		end_group(drawing);
}

/* ---------------------------------------------------------------------------
 * goes_dataflow
 * ---------------------------------------------------------------------------
 */

/* The strings that a query of the user, who must be able to run it, returns. */
static List *
read_names(const char *sql)
{
	List	   *names = NIL;

	if (SPI_execute(sql, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\"", sql);
	for (uint64 i = 0; i < SPI_processed; i++)
		names = lappend(names, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	return names;
}

static List *
draw_types(Drawing *drawing)
{
	List	   *types = NIL;
	ListCell   *cell;

	foreach(cell, read_names("SELECT type FROM goes.aggregate_types"
							 " ORDER BY type COLLATE pg_catalog.\"C\""))
	{
		GoesAggregateType *type = goes_find_aggregate_type(lfirst(cell));

		if (type != NULL)
			types = lappend(types, draw_type(drawing, type));
	}
	return types;
}

/* Those that react to anything. */
static List *
read_reactors(void)
{
	List	   *reactors = NIL;
	ListCell   *cell;

	foreach(cell, read_names("SELECT reactor FROM goes.reactors WHERE active"
							 " ORDER BY reactor COLLATE pg_catalog.\"C\""))
	{
		GoesReactor *reactor = goes_reactor_read(lfirst(cell));

		if (reactor != NULL)
			reactors = lappend(reactors, reactor);
	}
	return reactors;
}

static void
draw_model(Drawing *drawing)
{
	List	   *types = draw_types(drawing);
	List	   *reactors = read_reactors();

	draw_reactors(drawing, GOES_SYNC, "sync reactors", reactors, types);
	draw_reactors(drawing, GOES_ASYNC, "async reactors", reactors, types);
	draw_reactors(drawing, GOES_OUTSIDE, "outside reactors", reactors, types);
}

PG_FUNCTION_INFO_V1(goes_dataflow);

/*
 * goes_dataflow(format text DEFAULT 'mermaid') RETURNS text
 *		The registered model as a graph, in the language of Mermaid or of Graphviz
 *		('dot').  The user must be able to read the registry.  Errors: 22004,
 *		22023, 42501.
 */
Datum
goes_dataflow(PG_FUNCTION_ARGS)
{
	char	   *format = goes_text_arg(fcinfo, 0, "format");
	Drawing		drawing;

	if (strcmp(format, "mermaid") != 0 && strcmp(format, "dot") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid format \"%s\"", format),
				 errhint("Formats are \"mermaid\" and \"dot\".")));
	begin_drawing(&drawing, strcmp(format, "dot") == 0);
	SPI_connect();
	draw_model(&drawing);
	SPI_finish();
	PG_RETURN_TEXT_P(cstring_to_text(end_drawing(&drawing)));
}
