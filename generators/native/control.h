/* File descriptors that exist before the ports do. */
#ifndef NVGEN_CONTROL_H
#define NVGEN_CONTROL_H

extern int protocol_fd;    /* the caller's stdout: protocol lines only */
extern int signal_fd;      /* SIGTERM and SIGINT */
extern int ports_ready_fd; /* becomes readable once the ports are up */

#endif
