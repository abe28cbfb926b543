//! Result codes. Numbers are never used again for something else.

use crate::error::{Error, ErrorKind};

/// What a function returns that can fail. Accept numbers that are not listed here: later versions may add some.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "the name that C has")]
pub enum pam_pps_result {
    /// Done.
    PAM_PPS_RESULT_OK = 0,
    /// A pointer that must not be NULL is.
    PAM_PPS_RESULT_NULL_POINTER = 1,
    /// A text is not UTF-8.
    PAM_PPS_RESULT_INVALID_UTF8 = 2,
    /// An argument makes no sense: an unknown number, no JID, no XML.
    PAM_PPS_RESULT_INVALID_ARGUMENT = 3,
    /// There is no option of that name.
    PAM_PPS_RESULT_UNKNOWN_OPTION = 4,
    /// The option does not take that value.
    PAM_PPS_RESULT_INVALID_OPTION = 5,
    /// The store failed: disk full, file locked or damaged, newer than this library.
    PAM_PPS_RESULT_STORE = 6,
    /// The engine met a bug of its own before and does nothing more; free it and open a new one.
    PAM_PPS_RESULT_UNUSABLE = 7,
    /// A bug of this library was caught in this very call.
    PAM_PPS_RESULT_PANIC = 8,
    /// Header and library do not fit each other.
    PAM_PPS_RESULT_VERSION = 9,
    /// The engine is shutting down.
    PAM_PPS_RESULT_CLOSED = 10,
    /// Too many inputs are waiting already; try again later.
    PAM_PPS_RESULT_BUSY = 11,
}

impl From<&Error> for pam_pps_result {
    fn from(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Xml | ErrorKind::Jid | ErrorKind::InvalidArgument => Self::PAM_PPS_RESULT_INVALID_ARGUMENT,
            ErrorKind::UnknownOption => Self::PAM_PPS_RESULT_UNKNOWN_OPTION,
            ErrorKind::InvalidOption => Self::PAM_PPS_RESULT_INVALID_OPTION,
            ErrorKind::Store => Self::PAM_PPS_RESULT_STORE,
            ErrorKind::Unusable => Self::PAM_PPS_RESULT_UNUSABLE,
            ErrorKind::Closed => Self::PAM_PPS_RESULT_CLOSED,
            ErrorKind::Busy => Self::PAM_PPS_RESULT_BUSY,
        }
    }
}
