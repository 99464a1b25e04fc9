# goes: event sourcing and CQRS inside PostgreSQL
#
#   make && sudo make install     build and install for the PostgreSQL of pg_config
#   make installcheck             test on a server that is running
#   make check                    build, install and test on throw-away servers
#   make demo, make stop-demo     try the user example on a throw-away server
#   make bench                    measure on a throw-away server
#
# PG_CONFIG=/path/to/pg_config chooses another PostgreSQL.

source := $(or $(VPATH),$(patsubst %/,%,$(dir $(firstword $(MAKEFILE_LIST)))))

# These bring what they need, so they must work before there is a pg_config to
# ask. They also would clash with PGXS, whose "check" only says that it is not
# supported: so nothing else can be made in the same call.
SCRIPT_GOALS = check demo stop-demo bench

ifneq (,$(filter $(SCRIPT_GOALS),$(MAKECMDGOALS)))

ifneq (,$(filter-out $(SCRIPT_GOALS),$(MAKECMDGOALS)))
$(error make $(filter $(SCRIPT_GOALS),$(MAKECMDGOALS)) apart from $(filter-out $(SCRIPT_GOALS),$(MAKECMDGOALS)))
endif

# Given on the command line or in the environment; the scripts find one otherwise.
ifdef PG_CONFIG
export PG_CONFIG
endif

.PHONY: $(SCRIPT_GOALS)
check:
	@$(source)/scripts/check.sh
demo:
	@$(source)/scripts/demo.sh
stop-demo:
	@$(source)/scripts/demo.sh stop
bench:
	@$(source)/bench/run.sh

else

# Building elsewhere, "make -f /path/to/goes/Makefile": only some PGXS set this.
ifneq ($(source),.)
VPATH = $(source)
endif

MODULE_big = goes
EXTENSION = goes
DATA = goes--1.0.sql
HEADERS_goes = src/goes.h
OBJS = $(patsubst $(source)/%.c,%.o,$(sort $(wildcard $(source)/src/*.c)))

PG_CPPFLAGS = -I$(srcdir)/src
# PostgreSQL's calling conventions leave parameters unused, already in its headers.
PG_CFLAGS = -Wall -Wextra -Werror -Wno-unused-parameter

# Tests, one name a line, run in this order: test/sql and test/specs hold them.
REGRESS = \
	extension \
	execute \
	execute_many \
	nested \
	metadata \
	command_id \
	errors \
	bad_input \
	model \
	calculators \
	records \
	reactors \
	ddl \
	guards \
	rows \
	names \
	privileges \
	rls \
	tables \
	history \
	rebuild \
	dispatch \
	import \
	events \
	stats \
	watching \

ISOLATION = \
	concurrent-commands \
	concurrent-create \
	same-command-id \
	expected-version \
	transfer \
	unique-column \
	savepoint \
	nested-commands \
	old-snapshot \
	registration \
	registry-change \
	ddl-table \
	ddl-partition \
	ddl-function \
	ddl-type \
	upcaster-change \
	replay \
	concurrent-rebuild \
	concurrent-import \

REGRESS_OPTS = --inputdir=$(srcdir)/test
ISOLATION_OPTS = --inputdir=$(srcdir)/test

# The TAP tests start servers of their own: they need IPC::Run and a user that is not root.
PROVE_TESTS = test/t/*.pl
ifneq (,$(wildcard $(source)/$(PROVE_TESTS)))
TAP_TESTS := $(shell test "$$(id -u)" -ne 0 && perl -MIPC::Run -e 'print 1' 2>/dev/null)
endif

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# PGXS follows no #include, and makes no folder for objects outside the source tree.
$(OBJS) $(OBJS:.o=.bc): $(wildcard $(srcdir)/src/*.h)
$(shell mkdir -p src)

endif
