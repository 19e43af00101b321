//! Pieces of a page.

use std::fmt::{Display, Write as _};

/// Text as it stands in a page.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A paragraph.
pub(super) fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", escape(text))
}

/// A paragraph in small print.
pub(super) fn note(text: &str) -> String {
    format!("<p class=\"note\">{}</p>\n", escape(text))
}

/// What a row is about, for its looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Ours,
    Others,
    Paper,
}

/// A table with a caption.
#[derive(Debug)]
pub(super) struct Table {
    text: String,
}

impl Table {
    pub(super) fn new(caption: &str, head: &[String]) -> Self {
        let mut text = format!(
            "<p class=\"caption\">{}</p>\n<div class=\"wide\"><table>\n<tr>",
            escape(caption)
        );
        for cell in head {
            push(&mut text, &format_args!("<th>{}</th>", escape(cell)));
        }
        text.push_str("</tr>\n");
        Self { text }
    }

    pub(super) fn row(&mut self, of: Of, cells: &[String]) {
        let class = match of {
            Of::Ours => " class=\"ours\"",
            Of::Paper => " class=\"paper\"",
            Of::Others => "",
        };
        push(&mut self.text, &format_args!("<tr{class}>"));
        for cell in cells {
            push(&mut self.text, &format_args!("<td>{}</td>", escape(cell)));
        }
        self.text.push_str("</tr>\n");
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</table></div>\n");
        self.text
    }
}

/// A plot with its legend and caption.
pub(super) fn figure(svg: &str, legend: &[(&str, &str, bool)], caption: &str) -> String {
    let mut text = String::from("<figure>\n<ul class=\"legend\">");
    for (name, colour, dashed) in legend {
        let class = if *dashed { " class=\"dashed\"" } else { "" };
        let name = escape(name);
        push(
            &mut text,
            &format_args!("<li><i{class} style=\"border-color:{colour}\"></i>{name}</li>"),
        );
    }
    let caption = escape(caption);
    push(
        &mut text,
        &format_args!("</ul>\n{svg}\n<figcaption>{caption}</figcaption></figure>\n"),
    );
    text
}

/// Adds to a page; that can't fail.
pub(super) fn push(text: &mut String, what: &dyn Display) {
    let _ = write!(text, "{what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_measured_becomes_markup() {
        let mut table = Table::new("<b>", &["a & b".into()]);
        table.row(Of::Ours, &["\"<script>".into()]);
        let text = table.finish();
        assert!(text.contains("&lt;b&gt;") && text.contains("a &amp; b"));
        assert!(text.contains("<tr class=\"ours\"><td>&quot;&lt;script&gt;</td></tr>"));
    }
}
