//! Progress on standard error: the chart redrawn in place on a terminal, a line per phase elsewhere.

use std::io::{self, Write};
use std::time::Duration;

use super::terminal;

/// What the headline needs.
const COLUMNS_LEAST: usize = 80;
/// What headline and chart need, and the line of the cursor.
const ROWS_LEAST: usize = 16;

/// Shows how a run goes. What cannot be written is not missed: progress is a courtesy.
#[derive(Debug)]
pub(crate) struct Live {
    /// Of the terminal, as it was at the start: the picture must not change its shape under way.
    size: Option<(usize, usize)>,
    colour: bool,
    /// Lines on the screen that the next picture replaces.
    drawn: usize,
    /// What was said last.
    sentence: &'static str,
}

impl Live {
    pub(crate) fn new() -> Self {
        let stderr = io::stderr();
        let colour = anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never;
        Self { size: terminal::size(&stderr), colour, drawn: 0, sentence: "" }
    }

    /// Shows the run of `total` as it is after `elapsed`: `sentence` says what happens now, and `chart` draws it in a
    /// width.
    pub(crate) fn show(
        &mut self,
        total: Duration,
        elapsed: Duration,
        sentence: &'static str,
        chart: impl FnOnce(usize) -> Vec<String>,
    ) {
        if let Some(width) = self.picture_width() {
            let mut lines = vec![headline(total, elapsed, sentence), String::new()];
            lines.extend(chart(width));
            self.redraw(&lines);
        } else if self.sentence != sentence {
            let _ = writeln!(io::stderr(), "{:5.1} s  {sentence}", elapsed.as_secs_f64());
        }
        self.sentence = sentence;
    }

    /// Leaves the screen to the results.
    pub(crate) fn finish(&mut self) {
        if self.drawn > 0 {
            self.redraw(&[]);
        }
    }

    /// The width of the picture, or none where it has no room: a line that wraps or scrolls cannot be drawn over.
    fn picture_width(&self) -> Option<usize> {
        self.size
            .filter(|&(columns, rows)| columns >= COLUMNS_LEAST && rows >= ROWS_LEAST)
            .map(|(columns, _)| columns)
    }

    /// One write per picture, so that it does not flicker.
    fn redraw(&mut self, lines: &[String]) {
        use std::fmt::Write as _;
        let mut picture = String::new();
        if self.drawn > 0 {
            // Up to the first line of the last picture, and clear from there down.
            let _ = write!(picture, "\x1b[{}A\x1b[J", self.drawn);
        }
        for line in lines {
            if self.colour {
                picture.push_str(line);
            } else {
                let _ = write!(picture, "{}", anstream::adapter::strip_str(line));
            }
            picture.push('\n');
        }
        self.drawn = lines.len();
        let _ = io::stderr().lock().write_all(picture.as_bytes());
    }
}

fn headline(total: Duration, elapsed: Duration, sentence: &str) -> String {
    format!(
        "{} {:4.1} of {} s   {}",
        terminal::paint(terminal::BOLD, "surefoot demo"),
        elapsed.min(total).as_secs_f64(),
        total.as_secs(),
        terminal::paint(terminal::PHASE, sentence),
    )
}

#[cfg(test)]
mod tests {
    use super::super::crowd::Crowd;
    use super::super::script::Script;
    use super::*;

    #[test]
    fn no_headline_wraps_on_the_narrowest_terminal_that_gets_a_picture() {
        let total = Duration::from_secs(600);
        let outage = Script::outage(total);
        let sentences = outage.phases().map(|phase| phase.behaviour.sentence());
        for sentence in sentences.chain(Crowd::new(1, 600).sentences()) {
            let line = headline(total, total, sentence);
            let plain = anstream::adapter::strip_str(&line).to_string();
            assert!(plain.chars().count() <= COLUMNS_LEAST, "{plain}");
        }
    }
}
