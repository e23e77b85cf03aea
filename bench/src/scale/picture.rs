//! The picture of a crowd: what was offered, what was served and which processes there were, over time. Pure.

use std::fmt::Write;

use super::{Crowd, GOAL_MS, Sample};

/// Size of the picture.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 560.0;
/// Where the plot lies in it.
const LEFT: f64 = 84.0;
const RIGHT: f64 = 928.0;
const TOP: f64 = 118.0;
const BOTTOM: f64 = 452.0;
/// What is drawn before the first request, in seconds.
const BEFORE: f64 = 0.15;

const INK: &str = "#1b2733";
const FAINT: &str = "#6b7885";
const GRID: &str = "#e6eaee";
const OFFERED: &str = "#8593a2";
const SERVED: &str = "#0b8f83";
const PROCESSES: &str = "#dd6b20";
const GOAL: &str = "#b3261e";

/// A number that changes in steps: from each time on, in seconds from the first request, in order.
type Steps = Vec<(f64, usize)>;

/// What is drawn.
#[derive(Debug)]
pub(super) struct Picture {
    offered: Steps,
    served: Steps,
    processes: Steps,
    requests: usize,
    service_ms: u64,
    /// When all were served at once, in seconds.
    all: Option<f64>,
    machine: String,
    until: f64,
}

impl Picture {
    /// Of a crowd; `None` of an empty one.
    pub(super) fn of(crowd: &Crowd, service_ms: u64, machine: &str) -> Option<Self> {
        let zero = crowd.offered()?;
        let seconds = |at: u64| crate::clock::us_between(zero, at) / 1e6;
        let spans = |spans: &mut dyn Iterator<Item = (u64, u64)>| {
            let changes = spans.flat_map(|(from, to)| [(seconds(from), true), (seconds(to), false)]);
            steps(changes.collect())
        };
        let offered = spans(&mut crowd.requests.iter().map(|request| (request.sent, request.answered)));
        let served = spans(&mut crowd.requests.iter().filter_map(|request| request.served));
        let processes: Steps =
            crowd.processes.iter().map(|Sample { at, processes }| (seconds(*at), *processes)).collect();
        // Until a while after the last process is gone.
        let last = [&offered, &processes].map(|steps| {
            let last = steps.iter().rposition(|(_, count)| *count > 0);
            last.map_or(0.0, |last| steps[last].0)
        });
        let until = (last[0].max(last[1]) + 0.3).max(GOAL_MS / 1e3 + 0.2);
        Some(Self {
            offered,
            served,
            processes,
            requests: crowd.requests.len(),
            service_ms,
            all: crowd.all_serving_ms().map(|ms| ms / 1e3),
            machine: machine.to_owned(),
            until,
        })
    }

    /// As a file of its own.
    pub(super) fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" role=\"img\" font-family=\"Inter, 'Helvetica Neue', Helvetica, 'DejaVu Sans', Arial, \
             sans-serif\" font-size=\"13\">\n<title>{title}</title>\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"10\" fill=\"#ffffff\"/>\n",
            title = escape(&self.title()),
        );
        text(&mut svg, (LEFT, 40.0), "start", INK, "font-size=\"21\" font-weight=\"600\"", &self.title());
        text(&mut svg, (LEFT, 63.0), "start", FAINT, "", &self.subtitle());
        self.legend(&mut svg);
        self.axes(&mut svg);
        self.goals(&mut svg);
        self.area(&mut svg);
        self.line(&mut svg, &self.offered, OFFERED, "stroke-width=\"2\" stroke-dasharray=\"6 4\"");
        self.line(&mut svg, &self.processes, PROCESSES, "stroke-width=\"2\"");
        self.line(&mut svg, &self.served, SERVED, "stroke-width=\"2.5\"");
        self.moment(&mut svg);
        self.end(&mut svg);
        text(&mut svg, (LEFT, HEIGHT - 22.0), "start", FAINT, "font-size=\"12\"", &self.machine);
        let note = "served: as the workers stamp it · processes: as the kernel counts them";
        text(&mut svg, (RIGHT, HEIGHT - 22.0), "end", FAINT, "font-size=\"12\"", note);
        svg.push_str("</svg>\n");
        svg
    }

    fn title(&self) -> String {
        match self.all {
            Some(all) => format!(
                "{} requests at once: all are being served after {}",
                grouped(self.requests),
                duration(all)
            ),
            None => format!("{} requests at once", grouped(self.requests)),
        }
    }

    fn subtitle(&self) -> String {
        format!(
            "A function without a worker; each request keeps one for {}. Nothing is left when nobody asks any more.",
            duration(f64_of(self.service_ms) / 1e3)
        )
    }

    fn x(&self, seconds: f64) -> f64 {
        LEFT + (seconds + BEFORE) / (self.until + BEFORE) * (RIGHT - LEFT)
    }

    /// The greatest number that fits: a tenth more than the most there was.
    fn most(&self) -> f64 {
        let highest =
            [&self.offered, &self.served, &self.processes].into_iter().flatten().map(|(_, n)| *n).max();
        count(highest.unwrap_or(0).max(self.requests)) * 1.1
    }

    fn y(&self, number: f64) -> f64 {
        BOTTOM - number / self.most() * (BOTTOM - TOP)
    }

    fn legend(&self, svg: &mut String) {
        let mut x = LEFT;
        for (name, colour, dash) in [
            ("offered: sent, not answered", OFFERED, "6 4"),
            ("being served", SERVED, ""),
            ("processes", PROCESSES, ""),
        ] {
            let _ = writeln!(
                svg,
                "<path d=\"M{x} 90h26\" stroke=\"{colour}\" stroke-width=\"3\" stroke-dasharray=\"{}\"/>",
                if dash.is_empty() { "none" } else { dash }
            );
            text(svg, (x + 34.0, 94.5), "start", INK, "", name);
            x += 34.0 + 7.0 * count(name.chars().count()) + 26.0;
        }
    }

    fn axes(&self, svg: &mut String) {
        let step = nice(self.most() / 5.0);
        let mut number = 0.0;
        while number <= self.most() {
            let y = self.y(number);
            let _ = writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"{GRID}\"/>");
            text(svg, (LEFT - 10.0, y + 4.5), "end", FAINT, "", &grouped_f64(number));
            number += step;
        }
        let step = nice(self.until / 8.0);
        let mut seconds = 0.0;
        while seconds <= self.until {
            let x = self.x(seconds);
            let _ = writeln!(svg, "<path d=\"M{x:.1} {BOTTOM}v5\" stroke=\"{FAINT}\"/>");
            text(svg, (x, BOTTOM + 20.0), "middle", FAINT, "", &trimmed(seconds));
            seconds += step;
        }
        let _ = writeln!(svg, "<path d=\"M{LEFT} {BOTTOM}H{RIGHT}\" stroke=\"{FAINT}\"/>");
        let middle = f64::midpoint(LEFT, RIGHT);
        text(svg, (middle, BOTTOM + 42.0), "middle", INK, "", "seconds since the first request");
        let (x, y) = (24.0, f64::midpoint(TOP, BOTTOM));
        let turned = format!("transform=\"rotate(-90 {x} {y})\"");
        text(svg, (x, y), "middle", INK, &turned, "requests, processes");
    }

    fn goals(&self, svg: &mut String) {
        let (x, y) = (self.x(GOAL_MS / 1e3), self.y(count(self.requests)));
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {TOP}V{BOTTOM}M{LEFT} {y:.1}H{RIGHT}\" stroke=\"{GOAL}\" stroke-dasharray=\"2 4\" \
             fill=\"none\"/>"
        );
        let goal = format!("goal: all {} by {}", grouped(self.requests), duration(GOAL_MS / 1e3));
        text(svg, (x + 8.0, TOP + 14.0), "start", GOAL, "font-size=\"12\"", &goal);
    }

    /// The plot's points: one a pixel, so that a picture of any number of requests stays small.
    fn points(&self, steps: &Steps) -> String {
        let mut points = String::new();
        let (mut next, mut now, mut drawn) = (0, 0, None);
        let mut pixel = LEFT;
        while pixel <= RIGHT {
            let seconds = (pixel - LEFT) / (RIGHT - LEFT) * (self.until + BEFORE) - BEFORE;
            while let Some((_, number)) = steps.get(next).filter(|(at, _)| *at <= seconds) {
                (now, next) = (*number, next + 1);
            }
            let y = self.y(count(now));
            match drawn {
                None => _ = write!(points, "M{pixel} {y:.1}"),
                Some(before) if before != now => _ = write!(points, "L{pixel} {y:.1}"),
                Some(_) => _ = write!(points, "H{pixel}"),
            }
            drawn = Some(now);
            pixel += 1.0;
        }
        points
    }

    fn line(&self, svg: &mut String, steps: &Steps, colour: &str, style: &str) {
        let points = self.points(steps);
        let _ = writeln!(
            svg,
            "<path d=\"{points}\" fill=\"none\" stroke=\"{colour}\" {style} stroke-linejoin=\"round\"/>"
        );
    }

    fn area(&self, svg: &mut String) {
        let points = self.points(&self.served);
        let _ =
            writeln!(svg, "<path d=\"{points}V{BOTTOM}H{LEFT}Z\" fill=\"{SERVED}\" fill-opacity=\"0.14\"/>");
    }

    /// The moment at which the last process is gone.
    fn end(&self, svg: &mut String) {
        let last = self.processes.iter().rposition(|(_, number)| *number > 0);
        let Some((at, _)) = last.and_then(|last| self.processes.get(last + 1)) else { return };
        let x = self.x(*at);
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{BOTTOM}\" r=\"4\" fill=\"{PROCESSES}\"/>");
        text(svg, (x, BOTTOM - 12.0), "end", PROCESSES, "font-weight=\"600\"", "no process is left");
    }

    /// The moment at which all are served.
    fn moment(&self, svg: &mut String) {
        let Some(all) = self.all else { return };
        let (x, y) = (self.x(all), self.y(count(self.requests)));
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"#ffffff\" stroke=\"{SERVED}\" stroke-width=\"2.5\"/>"
        );
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {:.1}V{BOTTOM}\" stroke=\"{SERVED}\" stroke-opacity=\"0.5\"/>",
            y + 5.0
        );
        text(svg, (x + 8.0, BOTTOM - 10.0), "start", SERVED, "font-weight=\"600\"", &duration(all));
    }
}

/// What a count is from each change on.
fn steps(mut changes: Vec<(f64, bool)>) -> Steps {
    changes.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut number = 0_usize;
    let step = |(at, more): (f64, bool)| {
        number = if more { number + 1 } else { number.saturating_sub(1) };
        (at, number)
    };
    changes.into_iter().map(step).collect()
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, colour: &str, style: &str, what: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\" {style}>{}</text>",
        at.0,
        at.1,
        escape(what)
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The next of 1, 2, 2.5, 5, 10, 20 … (and 0.5, 0.25 …) that is not below `number`.
fn nice(number: f64) -> f64 {
    let power = 10_f64.powf(number.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|step| step * power >= number * 0.999);
    step.unwrap_or(10.0) * power
}

fn duration(seconds: f64) -> String {
    if seconds < 0.9995 { format!("{:.0} ms", seconds * 1e3) } else { format!("{} s", trimmed(seconds)) }
}

/// Two digits behind the point at most.
fn trimmed(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Like `1,000`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn grouped_f64(number: f64) -> String {
    // A label of the axis: a small number, and not negative.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = number.round() as usize;
    grouped(whole)
}

fn count(number: usize) -> f64 {
    // Requests and processes: a few thousand at most.
    #[allow(clippy::cast_precision_loss)]
    let number = number as f64;
    number
}

fn f64_of(ms: u64) -> f64 {
    // A minute at most.
    #[allow(clippy::cast_precision_loss)]
    let ms = ms as f64;
    ms
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Request;
    use super::*;

    fn crowd() -> Crowd {
        let second = 1_000_000_000;
        let request = |begun| Request {
            sent: 10 * second,
            answered: 12 * second,
            served: Some((10 * second + begun, 11 * second + begun)),
        };
        let sample = |at, processes| Sample { at: at * second, processes };
        Crowd {
            requests: (0..1000).map(|number| request(number * 100_000)).collect(),
            statuses: BTreeMap::new(),
            processes: vec![sample(10, 2), sample(11, 1002), sample(13, 0)],
        }
    }

    #[test]
    fn it_says_when_all_were_served_and_draws_each_line() {
        let picture = Picture::of(&crowd(), 1000, "a <machine> & more").expect("not empty");
        let svg = picture.svg();
        assert!(svg.contains("1,000 requests at once: all are being served after 100 ms"), "{svg}");
        assert!(svg.contains("goal: all 1,000 by 1 s") && svg.contains("seconds since the first request"));
        assert!(svg.contains("a &lt;machine&gt; &amp; more") && svg.contains("no process is left"));
        for colour in [OFFERED, SERVED, PROCESSES] {
            assert!(svg.matches(colour).count() >= 2, "a line and its entry in the legend: {colour}");
        }
        assert!(svg.len() < 64 * 1024, "{} bytes", svg.len());
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }

    #[test]
    fn what_was_never_served_whole_claims_nothing() {
        let mut crowd = crowd();
        crowd.requests[7].served = None;
        let svg = Picture::of(&crowd, 1000, "").expect("not empty").svg();
        assert!(svg.contains(">1,000 requests at once<") && !svg.contains("r=\"5\""), "{svg}");
    }

    #[test]
    fn steps_of_axes_and_numbers_read_well() {
        assert_eq!([0.13, 1.0, 3.1, 220.0].map(nice), [0.2, 1.0, 5.0, 250.0]);
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.05, 1.0, 1.25].map(duration), ["50 ms", "1 s", "1.25 s"]);
    }

    #[test]
    fn counts_follow_their_changes() {
        assert_eq!(steps(vec![(2.0, false), (1.0, true), (1.5, true)]), [(1.0, 1), (1.5, 2), (2.0, 1)]);
    }
}
