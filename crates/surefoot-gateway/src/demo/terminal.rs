//! What the demo needs to know of the terminal: is it one, how wide is it, may it be coloured.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};
use terminal_size::{Height, Width};

/// Wide enough for the table, and what most pipes and logs are read at.
const WIDTH_UNKNOWN: usize = 100;
/// Beyond this a line is too long to follow across.
const WIDTH_MOST: usize = 120;

pub(crate) const PLAIN: Style = Style::new();
pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const LOAD: Style = AnsiColor::Yellow.on_default();
pub(crate) const PHASE: Style = AnsiColor::Cyan.on_default();

/// Columns and rows of the terminal behind `stream`, if it is one and says.
#[cfg(unix)]
pub(crate) fn size(stream: &(impl IsTerminal + std::os::fd::AsFd)) -> Option<(usize, usize)> {
    stream.is_terminal().then(|| terminal_size::terminal_size_of(stream)).flatten().and_then(usable)
}

/// Columns and rows of the terminal behind `stream`, if it is one and says.
#[cfg(windows)]
pub(crate) fn size(
    stream: &(impl IsTerminal + std::os::windows::io::AsHandle),
) -> Option<(usize, usize)> {
    stream.is_terminal().then(|| terminal_size::terminal_size_of(stream)).flatten().and_then(usable)
}

/// Some terminals report 0 for "unknown".
fn usable((Width(columns), Height(rows)): (Width, Height)) -> Option<(usize, usize)> {
    (columns > 0 && rows > 0).then(|| (usize::from(columns).min(WIDTH_MOST), usize::from(rows)))
}

/// Columns to fill, given what [`size`] found.
pub(crate) fn width(size: Option<(usize, usize)>) -> usize {
    size.map_or(WIDTH_UNKNOWN, |(columns, _)| columns)
}

/// `text` in `style`. Always coloured: the stream it is written to takes the colour out where it may not stay.
pub(crate) fn paint(style: Style, text: &str) -> String {
    if style == PLAIN || text.is_empty() {
        text.to_owned()
    } else {
        format!("{style}{text}{style:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_width_and_a_very_wide_one_get_a_readable_one() {
        assert_eq!(width(usable((Width(0), Height(0)))), WIDTH_UNKNOWN);
        assert_eq!(width(usable((Width(400), Height(50)))), WIDTH_MOST);
        assert_eq!(width(usable((Width(72), Height(24)))), 72);
    }

    #[test]
    fn paint_adds_nothing_but_colour() {
        assert_eq!(anstream::adapter::strip_str(&paint(GOOD, "ok")).to_string(), "ok");
    }
}
