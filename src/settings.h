/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  The settings under which pure functions of a model and queries of goes run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_SETTINGS_H
#define GOES_SETTINGS_H

extern int	goes_fix_settings(void);
extern void goes_restore_settings(int nestlevel);
extern void goes_prefer_indexes(void);

#endif							/* GOES_SETTINGS_H */
