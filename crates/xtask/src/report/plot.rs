//! Line plots as SVG.

use anyhow::{Result, anyhow};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

/// Points of a plot, large enough that lines and letters are fine.
const SIZE: (u32, u32) = (900, 400);
const FONT: &str = "system-ui, 'DejaVu Sans', sans-serif";
const INK: RGBColor = RGBColor(0x1c, 0x19, 0x17);
const GRID: RGBColor = RGBColor(0xe7, 0xe5, 0xe4);

/// How values lie along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    /// Each step is twice the one before.
    Twofold,
    /// Each step is ten times the one before.
    Tenfold,
}

/// One axis, with what stands beside it.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) name: &'static str,
    pub(super) scale: Scale,
    pub(super) from: f64,
    pub(super) to: f64,
}

/// A line through points.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// As `#rrggbb`.
    pub(super) colour: &'static str,
    pub(super) dashed: bool,
    /// Whether it stands out.
    pub(super) strong: bool,
    /// Whether each point is marked.
    pub(super) marked: bool,
    pub(super) points: Vec<(f64, f64)>,
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Twofold => value.log2(),
            Self::Tenfold => value.log10(),
        }
    }

    fn label(self, place: f64) -> String {
        let value = match self {
            Self::Linear => place,
            Self::Twofold => place.exp2(),
            Self::Tenfold => 10f64.powf(place),
        };
        // values between the steps of a scale have no mark
        if self != Self::Linear && (place - place.round()).abs() > 1e-6 {
            return String::new();
        }
        if value >= 1e6 {
            format!("{:.0} M", value / 1e6)
        } else if value >= 1e4 {
            format!("{:.0} k", value / 1e3)
        } else if value >= 1.0 || value == 0.0 {
            format!("{value:.0}")
        } else if value >= 0.01 {
            format!("{value}")
        } else {
            format!("10⁻{}", superscript(-value.log10()))
        }
    }
}

fn superscript(exponent: f64) -> char {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let digits = DIGITS.iter().zip(0..10);
    let mut close = digits.filter(|(_, digit)| (exponent - f64::from(*digit)).abs() < 0.5);
    close.next().map_or('?', |(character, _)| *character)
}

fn colour(text: &str) -> RGBColor {
    let part = |at: usize| {
        let digits = text.get(at..at + 2).unwrap_or("00");
        u8::from_str_radix(digits, 16).unwrap_or(0)
    };
    RGBColor(part(1), part(3), part(5))
}

/// Draws lines over two axes.
///
/// # Errors
/// When the library can't draw.
pub(super) fn lines(x: &Axis, y: &Axis, lines: &[Line]) -> Result<String> {
    let mut svg = String::new();
    draw(&mut svg, x, y, lines).map_err(|error| anyhow!("can't draw: {error}"))?;
    // the page decides how large it is
    let size = format!("width=\"{}\" height=\"{}\" ", SIZE.0, SIZE.1);
    Ok(svg.replacen(&size, "", 1))
}

type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw<'a>(svg: &'a mut String, x: &Axis, y: &Axis, lines: &[Line]) -> Drawn<'a> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let range = |axis: &Axis| axis.scale.place(axis.from)..axis.scale.place(axis.to);
    let mut chart = ChartBuilder::on(&area)
        .margin(8)
        .margin_right(24)
        .x_label_area_size(44)
        .y_label_area_size(62)
        .build_cartesian_2d::<RangedCoordf64, RangedCoordf64>(range(x).into(), range(y).into())?;
    let steps = |axis: &Axis| match axis.scale {
        Scale::Linear => 8,
        _ => grid(axis).len(),
    };
    let text = |size: i32| (FONT, size).into_font().color(&INK);
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_x_mesh()
        .x_labels(steps(x))
        .y_labels(steps(y))
        .x_label_formatter(&|place| x.scale.label(*place))
        .y_label_formatter(&|place| y.scale.label(*place))
        .x_desc(x.name)
        .y_desc(y.name)
        .axis_style(INK)
        .label_style(text(14))
        .axis_desc_style(text(15))
        .draw()?;
    for place in grid(y) {
        let [from, to] = [x.from, x.to].map(|value| x.scale.place(value));
        chart.draw_series(LineSeries::new([(from, place), (to, place)], GRID))?;
    }
    for line in lines {
        let ink = colour(line.colour);
        let inside = |value: f64, axis: &Axis| value >= axis.from && value <= axis.to;
        let points = line
            .points
            .iter()
            .filter(|(at, value)| inside(*at, x) && inside(*value, y))
            .map(|(at, value)| (x.scale.place(*at), y.scale.place(*value)));
        let points: Vec<(f64, f64)> = points.collect();
        let style = ink.stroke_width(if line.strong { 3 } else { 2 });
        if line.dashed {
            let series = DashedLineSeries::new(points.iter().copied(), 7, 5, style);
            chart.draw_series(series)?;
        } else {
            chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        }
        if line.marked {
            let mark = |point: &(f64, f64)| Circle::new(*point, 3, ink.filled());
            chart.draw_series(points.iter().map(mark))?;
        }
    }
    area.present()
}

/// Where lines across help the eye.
fn grid(axis: &Axis) -> Vec<f64> {
    let (from, to) = (axis.scale.place(axis.from), axis.scale.place(axis.to));
    let step = match axis.scale {
        Scale::Linear => {
            let rough = (to - from) / 8.0;
            let decade = 10f64.powf(rough.log10().floor());
            let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
            steps
                .into_iter()
                .find(|step| *step >= rough)
                .unwrap_or(rough)
        }
        _ => 1.0,
    };
    let mut places = Vec::new();
    let mut place = (from / step).ceil() * step;
    while place <= to + step / 1000.0 && places.len() < 50 {
        places.push(place);
        place += step;
    }
    places
}

/// A round number above all values, for the end of an axis that begins at 0.
pub(super) fn above(values: impl Iterator<Item = f64>) -> f64 {
    let most = values.fold(1.0, f64::max) * 1.05;
    let decade = 10f64.powf(most.log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0].map(|step| step * decade);
    steps.into_iter().find(|step| *step >= most).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_at_the_steps_of_a_scale() {
        assert_eq!(Scale::Twofold.label(5.0), "32");
        assert_eq!(Scale::Twofold.label(4.5), "");
        assert_eq!(Scale::Tenfold.label(-6.0), "10⁻⁶");
        assert_eq!(Scale::Tenfold.label(-1.0), "0.1");
        assert_eq!(Scale::Tenfold.label(3.0), "1000");
        assert_eq!(Scale::Tenfold.label(5.0), "100 k");
        assert_eq!(Scale::Tenfold.label(6.0), "1 M");
        assert_eq!(Scale::Linear.label(20.0), "20");
    }

    #[test]
    fn a_plot_is_one_picture_that_scales() {
        let axis = |scale| Axis {
            name: "name",
            scale,
            from: 1.0,
            to: 64.0,
        };
        let line = Line {
            colour: "#c2410c",
            dashed: false,
            strong: true,
            marked: true,
            points: vec![(1.0, 2.0), (32.0, 9.0), (128.0, 10.0)],
        };
        let svg = lines(&axis(Scale::Twofold), &axis(Scale::Linear), &[line]).unwrap();
        assert!(svg.starts_with("<svg viewBox") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("#C2410C"));
        // the point beyond the axis is left out
        assert_eq!(svg.matches("<circle").count(), 2);
    }

    #[test]
    fn an_axis_ends_above_its_values() {
        assert!((above([37.0, 12.0].into_iter()) - 40.0).abs() < 1e-9);
        assert!((above([150.0].into_iter()) - 200.0).abs() < 1e-9);
    }
}
