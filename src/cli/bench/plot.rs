//! Latency over throughput as an SVG picture.

use std::fmt::Write as _;

use super::sweep::Sweep;
use crate::cli::output::grouped;

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;
/// Readable on white, also in greys: one line is dashed.
const P50: (&str, &str, &str) = ("p50", "#1b6ca8", "none");
const P99: (&str, &str, &str) = ("p99", "#c44536", "7 4");

/// A measured rate and its latency.
type Point = (f64, f64);

/// Draws the steps of a sweep. Latencies are on a logarithmic scale.
pub(super) fn svg(sweep: &Sweep) -> String {
    let points = |latency: fn(&super::report::Latency) -> f64| -> Vec<Point> {
        let point = |outcome: &super::report::Outcome| {
            (outcome.throughput.records_per_second, latency(&outcome.latency_ms).max(0.001))
        };
        sweep.open.iter().map(|step| point(&step.outcome)).collect()
    };
    let workload = &sweep.closed.workload;
    let title = format!(
        "{}, {} connections × {}, {} records a call, {} % duplicates: {} records/s in a closed loop",
        workload.mode.name(),
        workload.connections,
        workload.callers,
        workload.shape.records,
        workload.shape.duplicates_percent,
        grouped(sweep.closed.throughput.records_per_second as u64)
    );
    draw(&title, &points(|latency| latency.p50), &points(|latency| latency.p99))
}

fn draw(title: &str, p50: &[Point], p99: &[Point]) -> String {
    let all = || p50.iter().chain(p99);
    let rate_max = nice_above(all().map(|point| point.0).fold(1.0, f64::max));
    let decade = |latency: f64| latency.log10();
    let lowest = all().map(|point| decade(point.1).floor()).fold(f64::MAX, f64::min).min(3.0);
    let highest = all().map(|point| decade(point.1).ceil()).fold(lowest + 1.0, f64::max);
    let x = |rate: f64| LEFT + rate / rate_max * (WIDTH - LEFT - RIGHT);
    let y = |latency: f64| {
        let part = (decade(latency) - lowest) / (highest - lowest);
        HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
    };
    let mut svg = String::new();
    // Writing to memory cannot fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"14\">{title}</text>"
    );
    for step in 0..=5 {
        let rate = rate_max * f64::from(step) / 5.0;
        let (at, bottom) = (x(rate), HEIGHT - BOTTOM);
        line(&mut svg, (at, TOP), (at, bottom));
        text(&mut svg, (at, bottom + 18.0), "middle", &grouped(rate as u64));
    }
    let mut power = lowest;
    while power <= highest {
        let latency = 10_f64.powf(power);
        line(&mut svg, (LEFT, y(latency)), (WIDTH - RIGHT, y(latency)));
        text(&mut svg, (LEFT - 8.0, y(latency) + 4.0), "end", &format!("{latency} ms"));
        power += 1.0;
    }
    text(&mut svg, (WIDTH / 2.0, HEIGHT - 16.0), "middle", "records answered per second");
    for ((name, colour, dashes), points) in [(P50, p50), (P99, p99)] {
        let placed: Vec<Point> =
            points.iter().map(|(rate, latency)| (x(*rate), y(*latency))).collect();
        let path: Vec<String> = placed.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
             stroke-dasharray=\"{dashes}\"/>",
            path.join(" ")
        );
        for (x, y) in &placed {
            let _ =
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        if let Some((x, y)) = placed.first() {
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" fill=\"{colour}\">{name}</text>",
                y - 8.0
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn line(svg: &mut String, from: Point, to: Point) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#dddddd\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, at: Point, anchor: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{text}</text>",
        at.0, at.1
    );
}

/// The next of 1, 2, 5, 10, 20 and so on.
fn nice_above(number: f64) -> f64 {
    let power = 10_f64.powf(number.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= number).unwrap_or(power * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (number, above) in [(1.0, 1.0), (1.2, 2.0), (320.0, 500.0), (501.0, 1000.0)] {
            assert!((nice_above(number) - above).abs() < 1e-6);
        }
    }

    #[test]
    fn points_lie_in_the_picture() {
        let svg = draw("title", &[(1e4, 0.4), (9e4, 1.2)], &[(1e4, 3.0), (9e4, 250.0)]);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<circle").count(), 4);
        for number in svg.split("cy=\"").skip(1) {
            let y: f64 = number.split('"').next().unwrap().parse().unwrap();
            assert!((TOP..=HEIGHT - BOTTOM).contains(&y), "{y}");
        }
    }
}
