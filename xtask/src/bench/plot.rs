//! Plots as SVG: a few lines over linear axes that begin at zero.

/// What to draw, and where.
#[derive(Debug)]
pub struct Plot {
    /// Name of its file.
    pub file: &'static str,
    /// Above it.
    pub title: &'static str,
    /// Below the horizontal axis.
    pub x: &'static str,
    /// Above the vertical axis.
    pub y: &'static str,
    /// The lines.
    pub series: Vec<Series>,
}

/// A line.
#[derive(Debug)]
pub struct Series {
    /// In the legend.
    pub name: &'static str,
    /// In the order of x.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 56.0;
/// Told apart by people who see red and green alike.
const COLORS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];
/// About as many lines cross an axis.
const TICKS: f64 = 6.0;

impl Plot {
    /// The document.
    pub fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Axis::up_to(points().map(|point| point.0).fold(0.0, f64::max));
        let y = Axis::up_to(points().map(|point| point.1).fold(0.0, f64::max));
        let mut svg = Svg::new();
        svg.add(format!(
            "<text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{}</text>",
            escaped(self.title)
        ));
        svg.text(LEFT, TOP - 12.0, "end", self.y);
        svg.text(WIDTH - RIGHT, HEIGHT - 14.0, "end", self.x);
        svg.grid(&x, &y);
        for (number, (series, color)) in self.series.iter().zip(COLORS).enumerate() {
            let place = |point: &(f64, f64)| (across(x.share(point.0)), down(y.share(point.1)));
            svg.line(&series.points.iter().map(place).collect::<Vec<_>>(), color);
            svg.add(format!(
                "<text x=\"{}\" y=\"{:.1}\" fill=\"{color}\">{}</text>",
                LEFT + 12.0,
                16.0f64.mul_add(number as f64, TOP + 8.0),
                escaped(series.name)
            ));
        }
        svg.0 + "</svg>\n"
    }
}

/// A document being written.
struct Svg(String);

impl Svg {
    fn new() -> Self {
        Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
        ))
    }

    fn add(&mut self, element: String) {
        self.0.push_str(&element);
        self.0.push('\n');
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = escaped(text);
        self.add(format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    fn grid(&mut self, x: &Axis, y: &Axis) {
        for tick in y.ticks() {
            let at = down(y.share(tick));
            self.add(format!(
                "<path d=\"M{LEFT} {at:.1}H{}\" stroke=\"#ddd\"/>",
                WIDTH - RIGHT
            ));
            self.text(LEFT - 8.0, at + 4.0, "end", &tick.to_string());
        }
        for tick in x.ticks() {
            let at = across(x.share(tick));
            self.text(at, HEIGHT - BOTTOM + 18.0, "middle", &tick.to_string());
        }
    }

    fn line(&mut self, points: &[(f64, f64)], color: &str) {
        let steps = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}"));
        let path = steps.collect::<Vec<_>>().join("L");
        self.add(format!(
            "<path d=\"M{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>"
        ));
        for (x, y) in points {
            self.add(format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{color}\"/>"
            ));
        }
    }
}

/// From zero to a round number.
struct Axis {
    step: f64,
    end: f64,
}

impl Axis {
    fn up_to(most: f64) -> Self {
        let rough = most.max(f64::MIN_POSITIVE) / TICKS;
        let magnitude = 10.0_f64.powf(rough.log10().floor());
        let round = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude);
        let step = round
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        Self {
            step,
            end: (most / step).ceil().max(1.0) * step,
        }
    }

    fn share(&self, value: f64) -> f64 {
        value / self.end
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let count = (self.end / self.step).round() as u32;
        let digits = 10.0_f64.powf((-self.step.log10().floor()).max(0.0));
        (0..=count).map(move |tick| (f64::from(tick) * self.step * digits).round() / digits)
    }
}

fn across(share: f64) -> f64 {
    share.mul_add(WIDTH - LEFT - RIGHT, LEFT)
}

fn down(share: f64) -> f64 {
    share.mul_add(-(HEIGHT - TOP - BOTTOM), HEIGHT - BOTTOM)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_on_a_round_number_at_or_above_the_largest_value() {
        let ticks = |most| Axis::up_to(most).ticks().collect::<Vec<_>>();
        assert_eq!(ticks(100.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks(6.1), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(ticks(0.3), [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]);
        assert_eq!(ticks(0.0).len(), 2);
    }

    #[test]
    fn the_extremes_of_the_data_lie_on_the_edges_of_the_frame() {
        let points = vec![(0.0, 0.0), (100.0, 10.0)];
        let plot = Plot {
            file: "x.svg",
            title: "a < b",
            x: "x",
            y: "y",
            series: vec![Series { name: "s", points }],
        };
        let svg = plot.svg();
        assert!(svg.contains("d=\"M64.0 344.0L696.0 64.0\""), "{svg}");
        assert!(svg.contains("a &lt; b"));
    }
}
