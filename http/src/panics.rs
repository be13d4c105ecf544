//! Reports a panic as one ERROR record in the log's own format, and counts it.
//!
//! The standard hook writes raw lines to standard error, which a reader of JSON lines cannot parse.

use std::{
    any::Any,
    panic::PanicHookInfo,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Writes the panics of this process to its log from now on. Call it once, after logging is set up.
pub fn install() {
    std::panic::set_hook(Box::new(record));
}

/// Panics since [`install`], caught ones included.
#[must_use]
pub fn count() -> u64 {
    PANICS.load(Relaxed)
}

fn record(panic: &PanicHookInfo<'_>) {
    PANICS.fetch_add(1, Relaxed);
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    // Captured only when RUST_BACKTRACE asks for it; the record's fields are escaped by the log.
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace = (backtrace.status() == std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        target: "rpp::panic",
        panic = text(panic.payload()),
        place,
        thread = thread.name().unwrap_or("unnamed"),
        backtrace,
        "a task of this process panicked, which is a fault of the program: report it with this record"
    );
}

/// The text that `panic!` was given, unless the payload is of another type.
pub(crate) fn text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a text")
}
