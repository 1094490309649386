//! The pieces of the server that every record or call goes through, on inputs that are the same in every run.
//! `instructions` counts them, `pieces` times them.
//!
//! They are reached the way the server reaches them. What stands between them and the outside is measured along with
//! them, and nothing is public for the sake of measuring.

mod calls;
mod inputs;
mod judging;
mod storing;
mod tokens;

/// Something that can be done again and again.
pub(crate) trait Work {
    /// Makes what the next run uses up. Not measured.
    fn prepare(&mut self) {}

    /// Does it once.
    fn run(&mut self);
}

/// One piece.
pub(crate) struct Piece {
    pub(crate) name: &'static str,
    /// Runs to count, so many that what differs between runs evens out.
    #[allow(dead_code, reason = "what times the pieces finds out by itself how often")]
    pub(crate) rounds: u32,
    pub(crate) set_up: fn() -> Box<dyn Work>,
}

impl Piece {
    const fn new(name: &'static str, rounds: u32, set_up: fn() -> Box<dyn Work>) -> Self {
        Self { name, rounds, set_up }
    }
}

/// All of them.
pub(crate) const PIECES: &[Piece] = &[
    Piece::new("token", 1000, tokens::known_token),
    Piece::new("judge", 500, judging::judge),
    Piece::new("grpc-write", 100, calls::over_grpc),
    Piece::new("rest-write", 50, calls::over_rest),
    Piece::new("probe", 20, storing::probe),
    Piece::new("look-up", 200, storing::look_up),
    Piece::new("commit", 8, storing::commit_group),
    Piece::new("commit-lone", 100, storing::commit_lone),
    Piece::new("totals", 50, storing::totals),
];

/// A runtime that does everything on the calling thread.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
