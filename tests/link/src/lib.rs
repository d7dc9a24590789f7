//! Whole downloads into flash over a simulated link: the device's TCP stack, TLS, sprag-fetch and sprag-flash as they are,
//! in virtual time, beside the physical limit and beside other ways to do it. The same seed gives the same numbers on every
//! machine.

pub mod authority;
pub mod board;
pub mod clock;
pub mod device;
pub mod fault;
pub mod flash;
pub mod grid;
pub mod limit;
pub mod net;
pub mod object;
pub mod plot;
pub mod port;
pub mod random;
pub mod reason;
pub mod recovery;
pub mod report;
pub mod run;
pub mod server;
pub mod ways;
pub mod wire;
