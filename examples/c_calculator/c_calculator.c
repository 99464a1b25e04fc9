/*-------------------------------------------------------------------------
 *
 * c_calculator.c
 *	  Calculators in C: an account with a balance.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "goes.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

/* The "amount" of an event's data */
static int64
event_amount(const GoesEvent *event)
{
	JsonbValue *amount = NULL;

	if (JB_ROOT_IS_OBJECT(event->data))
		amount = getKeyJsonValueFromContainer(&event->data->root, "amount",
											  strlen("amount"), NULL);
	if (amount == NULL || amount->type != jbvNumeric)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event \"%s\" has no number \"amount\"",
						event->action)));

	/* raises an error if it does not fit */
	return DatumGetInt64(DirectFunctionCall1(numeric_int8,
											 NumericGetDatum(amount->val.numeric)));
}

/* The index of the column "balance" in the arrays of the aggregate */
static int
balance_index(const GoesAggregate *aggregate)
{
	int			attnum = SPI_fnumber(aggregate->tupdesc, "balance");

	if (attnum <= 0 || SPI_gettypeid(aggregate->tupdesc, attnum) != INT8OID)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table of an account has no column \"balance\" of type bigint")));
	return attnum - 1;
}

static void
set_balance(GoesAggregate *aggregate, int index, int64 balance)
{
	aggregate->values[index] = Int64GetDatum(balance);
	aggregate->nulls[index] = false;
}

/* account.opened: the balance is the first amount */
static void
account_opened(GoesAggregate *aggregate, const GoesEvent *event)
{
	set_balance(aggregate, balance_index(aggregate), event_amount(event));
}

/* account.deposited: the amount is added to the balance */
static void
account_deposited(GoesAggregate *aggregate, const GoesEvent *event)
{
	int			index = balance_index(aggregate);
	int64		balance = 0;

	if (!aggregate->nulls[index])
		balance = DatumGetInt64(aggregate->values[index]);
	if (pg_add_s64_overflow(balance, event_amount(event), &balance))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("balance out of range")));
	set_balance(aggregate, index, balance);
}

static GoesCalculator calculators[] = {
	{GOES_API_VERSION, "account_opened", account_opened, .immutable = true},
	{GOES_API_VERSION, "account_deposited", account_deposited, .immutable = true},
};

void
_PG_init(void)
{
	for (size_t i = 0; i < lengthof(calculators); i++)
		goes_register_calculator(&calculators[i]);
}
