/*-------------------------------------------------------------------------
 *
 * interval.h
 *	  Intervals as milliseconds.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_INTERVAL_H
#define GOES_INTERVAL_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* goes_interval_ms: its length, with months of 30 days; at most 100 years. */
static inline int64
goes_interval_ms(const Interval *interval)
{
	double		ms = interval->time / 1000.0 +
		((double) interval->month * DAYS_PER_MONTH + interval->day) *
		(double) SECS_PER_DAY * 1000.0;
	double		most = 100.0 * 365.25 * SECS_PER_DAY * 1000.0;

	return (int64) Max(-most, Min(most, ms));
}

#endif							/* GOES_INTERVAL_H */
