//! The executor's thread: asks the core what to do, and does it.

use std::io;
use std::sync::Arc;

use super::core::{Core, Next};
use super::handle::{EndOnDrop, Shared};
use crate::engine::Engine;

/// Starts the thread, which owns `engine` and `core`.
pub(super) fn spawn<E: Engine>(engine: E, core: Core<E>, shared: &Arc<Shared<E>>) -> io::Result<()> {
    let end = EndOnDrop(Arc::clone(shared));
    let thread = std::thread::Builder::new().name("executor".to_owned());
    thread.spawn(move || {
        // Outlives the core and the engine, even if they panic.
        let _end = end;
        run(core, engine);
    })?;
    Ok(())
}

fn run<E: Engine>(mut core: Core<E>, mut engine: E) {
    loop {
        match core.next(&mut engine) {
            Next::Step(step) => {
                let ran = step.run(&mut engine);
                core.book(&mut engine, ran);
            }
            Next::Park(until) => core.park(until),
            Next::End => return,
        }
    }
}
