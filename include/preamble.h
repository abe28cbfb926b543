/*
 * pam_pps: a publish-subscribe engine for XMPP servers.
 *
 * This file is generated from src/ffi; do not change it.
 *
 * Objects are opaque. What a function gives as a pointer is owned by the caller and goes back to the _free function of its
 * type, never to free(). What is read from an object as a pam_pps_slice is valid until the object is freed. What is lent to a
 * function is used during the call only, and copied where it is kept.
 *
 * All text is a pointer and a length, in UTF-8, and is not ended by NUL. Times are microseconds since 1970-01-01T00:00:00Z.
 * Functions that can fail return a pam_pps_result and write their outputs on success only.
 *
 * Threads. An engine may be used from any number of threads at once; everything else belongs to one thread at a time. An engine
 * starts threads of its own with the first pam_pps_engine_submit: one that writes, and some that answer what only reads. They
 * take no signals, call nothing of the host but completions and the log sink, and end with pam_pps_engine_free. An engine does
 * not outlive a fork in the child.
 *
 * Memory. The library never frees what the host has allocated, nor the other way round. It keeps as much of the data in memory
 * as the option cache_size says, and refuses inputs with PAM_PPS_RESULT_BUSY before those that wait could grow without bound.
 *
 * Panics. No function lets a C++ exception, a longjmp or a Rust panic through. After PAM_PPS_RESULT_PANIC the engine is
 * unusable: free it and open another.
 *
 * Stability. Programs ask for the library by its SONAME, which ends in the first two numbers of the version until 1.0.0 and in
 * the first from then on. As long as it stays the same, functions and types keep their meaning, and numbers are neither changed
 * nor used again. There may be new ones: skip decisions of a kind that you do not know, take an unknown result for a failure,
 * and give up an input (pam_pps_input_free) that needs an unknown fact. Options are set by name, so that new ones need no new
 * function. A database is read by every later version; an older one refuses it and changes nothing.
 */
