//! HTTP: what is asked, who may ask, and how it is answered. The work is done elsewhere.

pub mod admin;
pub mod body;
pub mod device;
pub mod error;
pub mod est;
pub mod ops;
pub mod path;
pub mod router;
pub mod serve;

pub use error::Problem;
pub use path::Path;

/// Runs a change to its end even if the client hangs up meanwhile: otherwise it could be in the
/// database and not in memory.
pub(crate) async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::spawn(change).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Problem::internal(&error)),
    }
}
