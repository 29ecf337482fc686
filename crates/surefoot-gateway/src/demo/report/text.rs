//! Words and numbers for readers.

use std::time::Duration;

/// A time as one reads it: milliseconds below a second, seconds with two digits above.
pub(crate) fn time(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        seconds(time, 2)
    }
}

/// Seconds, with no more digits than given and no trailing zeros after the point.
fn seconds(time: Duration, digits: usize) -> String {
    let text = format!("{:.digits$}", time.as_secs_f64());
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} s")
}

/// `count` with its thousands set apart.
pub(crate) fn count(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `part` of `whole` in whole percent, never rounded up to 100 or down to 0.
pub(crate) fn percent(part: usize, whole: usize) -> String {
    match (part, whole) {
        (_, 0) => "–".to_owned(),
        (0, _) => "0 %".to_owned(),
        (part, whole) if part >= whole => "100 %".to_owned(),
        (part, whole) => format!("{} %", ((part * 100 + whole / 2) / whole).clamp(1, 99)),
    }
}

/// A share from 0.0 to 1.0 in whole percent, not to be broken at the end of a line.
pub(crate) fn share(share: f64) -> String {
    format!("{:.0}\u{a0}%", share * 100.0)
}

/// `text` in lines of at most `width` columns, broken between words and not at no-break spaces; a longer word keeps
/// a line to itself.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last().map_or(0, |line| line.chars().count());
        match lines.last_mut() {
            Some(last) if line == 0 => last.push_str(word),
            Some(last) if line + 1 + word.chars().count() <= width => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.into_iter().map(|line| line.replace('\u{a0}', " ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_say_them() {
        for (ms, expected) in [
            (0, "0 ms"),
            (104, "104 ms"),
            (2000, "2 s"),
            (1234, "1.23 s"),
            (1500, "1.5 s"),
            (10_000, "10 s"),
        ] {
            assert_eq!(time(Duration::from_millis(ms)), expected);
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, expected) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(count(number), expected);
        }
    }

    #[test]
    fn almost_all_is_not_all_and_hardly_any_is_not_none() {
        for (part, whole, expected) in [
            (0, 0, "–"),
            (0, 9, "0 %"),
            (1, 1000, "1 %"),
            (1, 3, "33 %"),
            (2, 3, "67 %"),
            (999, 1000, "99 %"),
            (9, 9, "100 %"),
        ] {
            assert_eq!(percent(part, whole), expected);
        }
    }

    #[test]
    fn a_share_is_a_percentage_of_one_piece() {
        assert_eq!(share(0.7), "70\u{a0}%");
    }

    #[test]
    fn lines_are_broken_between_words_and_keep_to_the_width() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("one unbreakable", 5), ["one", "unbreakable"]);
        assert_eq!(wrap("one 2\u{a0}3", 5), ["one", "2 3"]);
        assert_eq!(wrap("", 5), [""]);
    }
}
