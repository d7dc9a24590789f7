#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod aws_jobs;
pub mod cancel;
pub mod esp_idf;
pub mod flash;
pub mod http;
pub mod image;
pub mod mcuboot;
pub mod time;

/// Pending once.
async fn yield_once() {
    let mut polled = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut polled, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
