//! Charts as inline SVG: lines over an axis, and bars. Colours are the page's, by class.
//!
//! Invariants: all text is escaped; values that are not finite are not drawn. Deliberately absent: scripts.

use std::fmt::Write as _;

use crate::cli::output::figure;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 36.0;
const TICKS: u32 = 4;
const BAR: f64 = 26.0;
const BAR_LEFT: f64 = 150.0;
const BAR_RIGHT: f64 = 130.0;

/// One line of a chart.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    /// Of the page's style.
    pub(super) class: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// One bar.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) class: &'static str,
    pub(super) value: f64,
    /// The value for people.
    pub(super) shown: String,
}

/// Text that is safe between tags and in attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            character => safe.push(character),
        }
    }
    safe
}

/// Lines from 0 on both axes.
pub(super) fn lines(title: &str, lines: &[Line], (x_name, y_name): (&str, &str)) -> String {
    let finite = |line: &Line| -> Vec<(f64, f64)> {
        line.points.iter().copied().filter(|point| point.0.is_finite() && point.1.is_finite()).collect()
    };
    let all: Vec<(f64, f64)> = lines.iter().flat_map(finite).collect();
    let highest = |of: fn(&(f64, f64)) -> f64| all.iter().map(of).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let (x_max, y_max) = (highest(|point| point.0), highest(|point| point.1));
    let x = |value: f64| LEFT + value / x_max * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / y_max * (HEIGHT - TOP - BOTTOM);
    let mut svg = head(title, HEIGHT);
    for tick in 0..=TICKS {
        let share = f64::from(tick) / f64::from(TICKS);
        let (at_x, at_y) = (x(share * x_max), y(share * y_max));
        let (right, low) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let _ = write!(svg, "<path class=\"grid\" d=\"M{LEFT:.1} {at_y:.1}H{right:.1}M{at_x:.1} {TOP:.1}V{low:.1}\"/>");
        label(&mut svg, (LEFT - 6.0, at_y + 4.0), "end", &figure(share * y_max));
        label(&mut svg, (at_x, low + 15.0), "middle", &figure(share * x_max));
    }
    label(&mut svg, (WIDTH - RIGHT, HEIGHT - 4.0), "end", &format!("{y_name} by {x_name}"));
    for line in lines {
        let mut path = String::new();
        for (index, point) in finite(line).into_iter().enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", x(point.0), y(point.1));
        }
        let _ = write!(svg, "<path class=\"line {}\" d=\"{path}\"/>", line.class);
    }
    svg.push_str("</svg>");
    let legend = lines.iter().map(|line| format!("<span class=\"key {}\">{}</span>", line.class, escaped(&line.name)));
    format!("<figure><figcaption>{}</figcaption>{svg}<p>{}</p></figure>", escaped(title), legend.collect::<String>())
}

/// Bars from 0 to the right, or to the left where a value is below it.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    let finite = |bar: &&Bar| bar.value.is_finite();
    let values = || bars.iter().filter(finite).map(|bar| bar.value);
    let (least, most) = (values().fold(0.0, f64::min), values().fold(0.0, f64::max));
    let span = (most - least).max(f64::MIN_POSITIVE);
    let x = |value: f64| BAR_LEFT + (value - least) / span * (WIDTH - BAR_LEFT - BAR_RIGHT);
    let mut rows = String::new();
    let mut at_y = TOP;
    for bar in bars {
        let middle = at_y + BAR / 2.0;
        label(&mut rows, (BAR_LEFT - 8.0, middle + 4.0), "end", &bar.name);
        if bar.value.is_finite() {
            let (left, right) = (x(bar.value.min(0.0)), x(bar.value.max(0.0)));
            let (width, height) = ((right - left).max(0.5), BAR - 8.0);
            let _ = write!(
                rows,
                "<rect class=\"{}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>",
                bar.class,
                at_y + 4.0
            );
            label(&mut rows, (right + 6.0, middle + 4.0), "start", &bar.shown);
        } else {
            label(&mut rows, (BAR_LEFT, middle + 4.0), "start", &bar.shown);
        }
        at_y += BAR;
    }
    format!("<figure><figcaption>{}</figcaption>{}{rows}</svg></figure>", escaped(title), head(title, at_y + TOP))
}

/// How many values are at most so large: a step for each.
pub(super) fn cumulative(mut values: Vec<f64>) -> Vec<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let mut points = Vec::with_capacity(2 * values.len());
    #[expect(clippy::cast_precision_loss, reason = "a share for the eye")]
    let share = |count: usize| count as f64 / values.len() as f64 * 100.0;
    for (index, &value) in values.iter().enumerate() {
        points.extend([(value, share(index)), (value, share(index + 1))]);
    }
    points
}

fn head(title: &str, height: f64) -> String {
    let title = escaped(title);
    format!("<svg viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>")
}

fn label(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = escaped(text);
    let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "<script>alert('x')</script>\" onload=\"y&";

    #[test]
    fn whatever_names_say_they_stay_text() {
        assert_eq!(escaped("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&#39;");
        let line = Line { name: HOSTILE.into(), class: "a0", points: vec![(0.0, 1.0), (2.0, 3.0)] };
        let bar = Bar { name: HOSTILE.into(), class: "a0", value: 1.0, shown: HOSTILE.into() };
        for svg in [lines(HOSTILE, &[line], (HOSTILE, HOSTILE)), bars(HOSTILE, &[bar])] {
            assert!(!svg.contains("<script") && !svg.contains("\" onload"), "{svg}");
            assert!(svg.contains("&lt;script&gt;"), "{svg}");
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        let line = Line { name: "n".into(), class: "a0", points: vec![(f64::NAN, 1.0), (1.0, f64::INFINITY)] };
        let empty = Line { name: "e".into(), class: "a1", points: Vec::new() };
        let bar = Bar { name: "b".into(), class: "a0", value: f64::NAN, shown: "unknown".into() };
        for svg in
            [lines("t", &[line, empty], ("x", "y")), lines("t", &[], ("x", "y")), bars("t", &[bar]), bars("t", &[])]
        {
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn a_loss_goes_to_the_left_of_nothing() {
        let bar = |value| Bar { name: "b".into(), class: "a0", value, shown: String::new() };
        let svg = bars("t", &[bar(-1.0), bar(1.0)]);
        let lefts: Vec<&str> = svg.split("<rect class=\"a0\" x=\"").skip(1).map(|rest| &rest[..5]).collect();
        assert_eq!(lefts, ["150.0", "330.0"], "{svg}");
    }

    #[test]
    fn a_distribution_ends_at_all() {
        let points = cumulative(vec![3.0, 1.0]);
        assert_eq!(points, [(1.0, 0.0), (1.0, 50.0), (3.0, 50.0), (3.0, 100.0)]);
        assert_eq!(cumulative(Vec::new()), []);
    }
}
