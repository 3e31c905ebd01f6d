//! Calls into libraries that are not trusted with hostile files: a panic there is a refusal here,
//! and says nothing on the terminal.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether a panic of this thread is expected and caught.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// What `attempt` returns, or `None` if it panics. Only panics of this thread are silent, and only
/// for that long.
pub fn contain<T>(attempt: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !CONTAINED.get() {
                usual(panic);
            }
        }));
    });
    let outer = CONTAINED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(attempt));
    CONTAINED.set(outer);
    outcome.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_none_and_leaves_nothing_behind() {
        assert_eq!(contain(|| 3), Some(3));
        assert_eq!(contain(|| contain(|| panic!("inner")).map_or(4, |(): ()| 5)), Some(4));
        assert_eq!(contain(|| -> u8 { panic!("outer") }), None);
        assert!(!CONTAINED.get());
    }
}
