/*-------------------------------------------------------------------------
 *
 * metadata.h
 *	  Metadata of events: what the setting and the causing event add.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_METADATA_H
#define GOES_METADATA_H

#include "postgres.h"

#include "goes.h"
#include "utils/guc.h"

extern char *goes_metadata_setting;
extern bool goes_check_metadata(char **newval, void **extra, GucSource source);
extern Jsonb *goes_metadata(Jsonb *given, const GoesEvent *cause);

#endif							/* GOES_METADATA_H */
