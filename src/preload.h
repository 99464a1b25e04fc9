/*-------------------------------------------------------------------------
 *
 * preload.h
 *	  Whether the server preloads goes, which what happens after commit needs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_PRELOAD_H
#define GOES_PRELOAD_H

extern bool goes_preloaded;

extern void goes_warn_without_preload(void);

#endif							/* GOES_PRELOAD_H */
