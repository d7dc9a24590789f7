//! Telling a person what happens: lines, and a progress bar with rate and time left.

use std::io::Write;

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};

use crate::device::{Happening, SelfTest};
use sprag_testkit::mcuboot::Swap;

/// Returns the template of the bar for a terminal of `columns` columns. It fits into one line.
fn template(columns: u16) -> &'static str {
    match columns {
        0..8 => "",
        8..30 => "{percent:>3}%",
        30..60 => "{wide_bar} {percent:>3}% {eta:>4}",
        60..88 => "{wide_bar} {bytes:>10} of {total_bytes:>10} {eta:>4} left",
        _ => "{bar:32} {bytes:>10} of {total_bytes} {bytes_per_sec:>12} {eta:>4} left",
    }
}

/// A progress bar in bytes. It draws on a terminal only.
pub fn progress_bar() -> ProgressBar {
    let style = template(Term::stderr().size().1);
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// Tells what happens on a device, line by line.
#[derive(Debug)]
pub struct Narrator<W> {
    out: W,
    bar: Option<ProgressBar>,
}

impl<W: Write> Narrator<W> {
    /// A narrator that writes its lines to `out`; the progress bar goes to stderr, where that is a terminal.
    pub fn new(out: W) -> Self {
        Self { out, bar: None }
    }

    /// Writes a line of its own between the others.
    pub fn line(&mut self, text: &str) {
        let out = &mut self.out;
        let mut write = || {
            // A reader that went away is no reason to stop an update.
            let _ = writeln!(out, "{text}");
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Tells what happened.
    pub fn tell(&mut self, happening: &Happening) {
        match happening {
            Happening::Booted(boot) => {
                let version = crate::device::version(boot.running);
                let how = match boot.swap {
                    Swap::None => "",
                    Swap::Test => ", swapped in for a test",
                    Swap::Permanent => ", swapped in for good",
                    Swap::Revert => ", swapped back: the new image did not confirm itself",
                    Swap::Refused => ": the bootloader refused the new image",
                };
                let place = boot.place.name().map_or_else(String::new, |name| format!(" from {name}"));
                self.line(&format!("  boots {version}{place}{how}"));
            }
            Happening::SelfTest(SelfTest::Pass) => self.line("  self-test passed: confirmed"),
            Happening::SelfTest(SelfTest::Hang) => self.line("  self-test hangs: the watchdog resets the device"),
            Happening::Ack(ack) => self.line(&format!("  reports {ack}")),
            Happening::Update(event) => self.update(event),
            Happening::Cloud(event) => self.cloud(event),
        }
    }

    fn cloud(&mut self, event: &sprag::mqtt::Event) {
        use sprag::mqtt::Event;
        match event {
            Event::Connected => self.line("  listens to the broker"),
            Event::Disconnected { during, retry_ms } => {
                self.line(&format!("  the broker is gone ({during}): trying again in {retry_ms} ms"));
            }
            Event::Refused { reason } => self.line(&format!("  refuses a job document: {reason}")),
            Event::Waiting { reason, fresh_url: true, .. } => {
                self.finish_bar();
                self.line(&format!("  {reason}: asks for the job's document again"));
            }
            Event::Waiting { reason, wait_ms, .. } => {
                self.finish_bar();
                self.line(&format!("  {reason}: goes on in {wait_ms} ms"));
            }
            Event::Stopped => {
                self.finish_bar();
                self.line("  the cloud took the job back: stops");
            }
            _ => {}
        }
    }

    fn update(&mut self, event: &sprag::Event) {
        match event {
            sprag::Event::Downloading { .. } => self.bar = Some(progress_bar()),
            sprag::Event::Progress { received, total } => {
                if let Some(bar) = &self.bar {
                    if bar.length() != Some(*total) {
                        bar.set_length(*total);
                        bar.set_position(*received);
                        bar.reset_eta();
                    }
                    bar.set_position(*received);
                }
            }
            sprag::Event::StartedOver { reason } => self.line(&format!("  {reason}: starting over")),
            sprag::Event::Fetch(sprag::fetch::Event::NoStrongEtag) => {
                self.line("  the server sends no strong ETag: if the connection is lost, the download starts over");
            }
            sprag::Event::Verifying => {
                self.finish_bar();
                self.line("  verifying what lies in flash");
            }
            sprag::Event::Fetch(sprag::fetch::Event::Refused { status, code }) => {
                self.line(format!("  the server refuses the URL: {status} {code}").trim_end());
            }
            sprag::Event::Fetch(sprag::fetch::Event::OtherRegion { region }) => {
                self.line(&format!("  the bucket is in {region}: the URL must name that region"));
            }
            sprag::Event::Fetch(sprag::fetch::Event::Retrying { reason, after_ms, .. }) if *after_ms > 0 => {
                self.line(&format!("  {reason}: trying again in {after_ms} ms"));
            }
            _ => {}
        }
    }

    /// Takes the progress bar off the screen.
    pub fn finish_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::{ProgressDrawTarget, TermLike};

    /// A terminal that remembers the longest line.
    #[derive(Debug, Clone)]
    struct Narrow(u16, Arc<Mutex<(usize, usize)>>);

    impl Narrow {
        fn drawn(&self, text: &str) {
            let width = console::measure_text_width(text.trim_matches(['\r', '\n']));
            let mut seen = self.1.lock().expect("no panic");
            *seen = (seen.0.max(width), seen.1 + usize::from(text.contains('%') || text.contains("left")));
        }
    }

    impl TermLike for Narrow {
        fn width(&self) -> u16 {
            self.0
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.drawn(text);
            Ok(())
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.drawn(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// On a terminal of any width, at any size and place: what is drawn is one line at most.
    #[test]
    fn the_bar_fits_into_one_line() {
        for columns in 1..=200 {
            let term = Narrow(columns, Arc::default());
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::term_like(Box::new(term.clone())));
            bar.set_style(ProgressStyle::with_template(template(columns)).expect("a template").progress_chars("=> "));
            for (length, position) in
                [(0, 0), (9, 1), (1_048_576, 1_023), (u64::from(u32::MAX), 1 << 31), (1 << 20, 1 << 20)]
            {
                bar.set_length(length);
                bar.set_position(position);
                bar.force_draw();
            }
            let (width, draws) = *term.1.lock().expect("no panic");
            assert!(width <= usize::from(columns), "{width} of {columns} columns");
            assert!(draws > 0 || columns < 8, "nothing was drawn in {columns} columns");
        }
    }
}
