//! How far long steps are.

/// What a long step is told to: its name, how much of it is done, and how much there is. From any
/// thread.
pub type Progress<'p> = dyn Fn(&str, usize, usize) + Sync + 'p;
