/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  The settings under which pure functions of a model run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_SETTINGS_H
#define GOES_SETTINGS_H

extern int	goes_fix_settings(void);
extern void goes_restore_settings(int nestlevel);

#endif							/* GOES_SETTINGS_H */
