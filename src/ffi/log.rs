//! The log sink: messages of the engine in the host's log.

use log::{Level, LevelFilter, Log, Metadata, Record};
use once_cell::sync::OnceCell;
use parking_lot::Mutex;

use super::result::pam_pps_result;
use super::slice::pam_pps_slice;

/// Called with `user`, a level (1 error, 2 warning, 3 information, 4 debugging) and a message, on any thread.
#[allow(non_camel_case_types, reason = "the name that C has")]
pub type pam_pps_log_sink_function =
    Option<unsafe extern "C" fn(user: *mut libc::c_void, level: u32, message: pam_pps_slice)>;

struct Sink {
    function: pam_pps_log_sink_function,
    user: *mut libc::c_void,
}

// SAFETY: the pointer is handed back to the host's function and never followed here; the header demands that the function
// may be called on any thread.
unsafe impl Send for Sink {}

struct Logger(Mutex<Sink>);

static LOGGER: OnceCell<Logger> = OnceCell::new();

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Debug
    }

    fn log(&self, record: &Record<'_>) {
        let level = match record.level() {
            Level::Error => 1,
            Level::Warn => 2,
            Level::Info => 3,
            Level::Debug | Level::Trace => 4,
        };
        let message = record.args().to_string();
        // The lock is held during the call: once the sink has been replaced, the old one is not called any more.
        let sink = self.0.lock();
        if let Some(function) = sink.function {
            // SAFETY: the host gave the function and its argument for this, and has not replaced them.
            unsafe { function(sink.user, level, message.as_str().into()) };
        }
    }

    fn flush(&self) {}
}

/// Sets the sink of the whole process; none ends it.
pub(super) fn set(function: pam_pps_log_sink_function, user: *mut libc::c_void) -> Result<(), pam_pps_result> {
    let logger =
        LOGGER.get_or_try_init(|| Ok::<_, pam_pps_result>(Logger(Mutex::new(Sink { function: None, user }))))?;
    *logger.0.lock() = Sink { function, user };
    // A program that has a logger of its own, and links this library as a crate, keeps it.
    if log::set_logger(logger).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
    Ok(())
}
