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
 * An engine may be used from any number of threads at once. Everything else belongs to one thread at a time.
 *
 * No function lets a C++ exception, a longjmp or a Rust panic through. After PAM_PPS_RESULT_PANIC the engine is unusable.
 */
