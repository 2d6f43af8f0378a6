//! One test per rule, in paused time.

mod ending;
mod faults;
mod keeping;
mod loading;
mod paging;
mod pinning;
mod resizing;
mod room;
mod telling;
mod turns;
