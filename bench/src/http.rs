//! `http`: CPU per request of a warm hello over keep-alive TCP, beside the floor and nginx.
//!
//! Each round gives every server one window, nginx two; the order rotates from round to round. Servers are
//! compared within a round only, so what slows the machine down for a while slows both sides of a ratio.
//! The ratio of nginx's two windows (A/A) shows how much of a difference is the machine's own noise.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::build::Artefacts;
use crate::cpu::Snapshot;
use crate::facts::{Facts, nginx_version};
use crate::load::{ClosedLoop, Expected, Until, new_histogram, quantile_us};
use crate::process::{allowed_cores, pin_to};
use crate::server::{Kind, Server, find_program};
use crate::stats::{Estimate, median};
use crate::{HELLO, Output, interrupt};

/// How much of a window goes unmeasured before it: connections settle, buffers and branches warm up.
const WARM_UP: f64 = 0.1;
/// Longest window, in seconds.
const MAX_WINDOW: f64 = 60.0;

/// CPU per request of a warm hello over keep-alive TCP, beside a bare io_uring server and nginx.
///
/// Every server runs on one core and the client on another. Rounds are interleaved; each figure is a median
/// with its 95% bootstrap bounds, and nginx is measured twice a round to show the noise of the machine.
#[derive(Debug, Args)]
pub(crate) struct HttpArgs {
    /// Rounds, each with one window per server and two of nginx [default: 11; with --smoke 2]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Length of a window [default: 1; with --smoke 0.2]
    #[arg(long, value_name = "SECONDS")]
    window: Option<f64>,
    /// Keep-alive connections, each with one request in flight
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    connections: usize,
    /// Measure only these servers
    #[arg(long, value_name = "SERVERS", value_delimiter = ',', value_enum)]
    only: Vec<Kind>,
    /// Workers of the function
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    workers: usize,
    /// The daemon [default: the one built beside this bench]
    #[arg(long, value_name = "PATH")]
    daemon: Option<PathBuf>,
    /// The hello plugin [default: the one built beside this bench]
    #[arg(long, value_name = "PATH")]
    plugin: Option<PathBuf>,
    /// Core that every server runs on [default: the first that may be used]
    #[arg(long, value_name = "CORE")]
    server_core: Option<usize>,
    /// Core that the client runs on [default: the second that may be used, or the servers' if it is alone]
    #[arg(long, value_name = "CORE")]
    client_core: Option<usize>,
    #[command(flatten)]
    output: Output,
}

/// One measured window of a server.
struct Measured {
    cpu_us: f64,
    rate: f64,
}

/// All windows of one server, or of one of nginx's two.
struct Series {
    windows: Vec<Measured>,
    latency: Histogram<u64>,
}

impl Series {
    fn new() -> Self {
        Self { windows: Vec::new(), latency: new_histogram() }
    }

    fn cpu_us(&self) -> Vec<f64> {
        self.windows.iter().map(|window| window.cpu_us).collect()
    }

    fn figures(&self) -> Result<Figures> {
        let rates: Vec<f64> = self.windows.iter().map(|window| window.rate).collect();
        Ok(Figures {
            cpu_us_per_request: Estimate::of(&self.cpu_us()).context("a server without windows")?,
            requests_per_s: median(&rates).context("a server without windows")?,
            p50_us: quantile_us(&self.latency, 0.5),
            p99_us: quantile_us(&self.latency, 0.99),
        })
    }
}

/// A column of the round: nginx has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Column {
    Nginx,
    Hairtrigger,
    Floor,
    NginxAgain,
}

impl Column {
    const ALL: [Self; 4] = [Self::Nginx, Self::Hairtrigger, Self::Floor, Self::NginxAgain];

    fn kind(self) -> Kind {
        match self {
            Self::Nginx | Self::NginxAgain => Kind::Nginx,
            Self::Hairtrigger => Kind::Hairtrigger,
            Self::Floor => Kind::Floor,
        }
    }
}

/// Figures of one server.
#[derive(Debug, Serialize)]
struct Figures {
    cpu_us_per_request: Estimate,
    requests_per_s: f64,
    p50_us: f64,
    p99_us: f64,
}

/// The JSON object. Ratios are of CPU per request; a `null` one was not measured.
#[derive(Debug, Serialize)]
struct Report {
    bench: &'static str,
    cpu_ratio_nginx: Option<f64>,
    cpu_ratio_nginx_lo95: Option<f64>,
    cpu_ratio_nginx_hi95: Option<f64>,
    cpu_ratio_floor: Option<f64>,
    cpu_ratio_floor_lo95: Option<f64>,
    cpu_ratio_floor_hi95: Option<f64>,
    /// The floor itself beside nginx: what a server without functions could reach.
    floor_ratio_nginx: Option<f64>,
    floor_ratio_nginx_lo95: Option<f64>,
    floor_ratio_nginx_hi95: Option<f64>,
    nginx_aa_ratio: Option<f64>,
    nginx_aa_ratio_lo95: Option<f64>,
    nginx_aa_ratio_hi95: Option<f64>,
    servers: BTreeMap<&'static str, Figures>,
    connections: usize,
    rounds: u32,
    window_s: f64,
    workers: usize,
    server_core: usize,
    client_core: usize,
    nginx_version: Option<String>,
    machine: Facts,
    /// What makes the figures doubtful; empty in a good run.
    errors: BTreeSet<String>,
}

/// Runs the bench and prints its result. Gives whether it went without errors.
///
/// # Errors
/// If a server does not start or answer, or the run is interrupted.
pub(crate) fn run(args: &HttpArgs) -> Result<bool> {
    let smoke = args.output.smoke;
    let rounds = args.rounds.unwrap_or(if smoke { 2 } else { 11 });
    let window_s = args.window.unwrap_or(if smoke { 0.2 } else { 1.0 });
    ensure!(
        (0.01..=MAX_WINDOW).contains(&window_s),
        "a window of {window_s} s was asked for: between 0.01 and {MAX_WINDOW} s are possible"
    );
    let machine = Facts::read();
    let cores = allowed_cores().context("which cores may be used")?;
    let server_core = args.server_core.unwrap_or(cores[0]);
    let client_core = args
        .client_core
        .unwrap_or_else(|| cores.iter().copied().find(|&core| core != server_core).unwrap_or(server_core));

    let mut servers = start_servers(args, server_core)?;
    // From here on: the servers are pinned by themselves, and the client is this thread.
    pin_to(client_core).with_context(|| format!("pinning the client to core {client_core}"))?;

    let mut errors = BTreeSet::new();
    let columns: Vec<Column> =
        Column::ALL.into_iter().filter(|column| servers.contains_key(&column.kind())).collect();
    let mut series: BTreeMap<Column, Series> =
        columns.iter().map(|column| (*column, Series::new())).collect();
    for round in 0..rounds {
        let mut order = columns.clone();
        // Every column comes first as often as last, and before each neighbour as often as behind it.
        order.rotate_left(round as usize % columns.len());
        if round % 2 == 1 {
            order.reverse();
        }
        let mut line = String::new();
        for column in order {
            let server = servers.get_mut(&column.kind()).context("a started server")?;
            let into = series.get_mut(&column).context("a column")?;
            let measured = measure(server, args.connections, window_s, &mut into.latency, &mut errors)
                .with_context(|| format!("measuring {}", column.kind().name()))?;
            line += &format!("  {} {:.2} µs", column.kind().name(), measured.cpu_us);
            into.windows.push(measured);
        }
        eprintln!("round {}/{rounds}:{line}", round + 1);
    }
    drop(servers);

    let report =
        report(args, &series, Settings { rounds, window_s, server_core, client_core }, machine, errors)?;
    args.output.print(&report, table)?;
    for error in &report.errors {
        eprintln!("error: {error}");
    }
    Ok(report.errors.is_empty())
}

fn start_servers(args: &HttpArgs, core: usize) -> Result<BTreeMap<Kind, Server>> {
    let wanted = |kind| args.only.is_empty() || args.only.contains(&kind);
    let mut servers = BTreeMap::new();
    if wanted(Kind::Nginx) {
        servers.insert(Kind::Nginx, Server::nginx(core)?);
    }
    if wanted(Kind::Hairtrigger) {
        let artefacts = Artefacts::find(args.daemon.as_deref(), args.plugin.as_deref())?;
        servers.insert(Kind::Hairtrigger, Server::hairtrigger(core, &artefacts, args.workers)?);
    }
    if wanted(Kind::Floor) {
        servers.insert(Kind::Floor, Server::floor(core)?);
    }
    Ok(servers)
}

/// One window: the CPU time of the tree is read with no request in flight, before the first and after the
/// last one.
fn measure(
    server: &mut Server,
    connections: usize,
    window_s: f64,
    latency: &mut Histogram<u64>,
    errors: &mut BTreeSet<String>,
) -> Result<Measured> {
    let name = server.kind().name();
    let expected = Expected { status: 200, body: HELLO.into() };
    let window_time = Duration::from_secs_f64(window_s);
    let mut load = ClosedLoop::connect(&server.target()?, expected, connections)?;
    load.run(Until::Elapsed(window_time.mul_f64(WARM_UP)))?;

    let before = Snapshot::of(server.pid())?;
    let window = load.run(Until::Elapsed(window_time)).map_err(|error| {
        // A server that died explains it better than the connection that broke.
        server.check_alive().err().unwrap_or(error)
    })?;
    let spent = Snapshot::of(server.pid())?.since(&before);
    drop(load);
    ensure!(!interrupt::requested(), "interrupted");

    latency.add(&window.latency).context("histograms of one shape")?;
    if !spent.vanished.is_empty() {
        errors.insert(format!(
            "{name}: {} processes lost a thread inside of a window, so its CPU time is too low",
            spent.vanished.len()
        ));
    }
    if let Some(wrong) = &window.first_wrong {
        errors.insert(format!("{name}: {} wrong answers, the first: {wrong:?}", window.wrong));
    }
    ensure!(window.requests > 0, "no request was answered");
    // Both are below 2^52.
    #[allow(clippy::cast_precision_loss)]
    let cpu_us = spent.ns as f64 / 1_000.0 / window.requests as f64;
    Ok(Measured { cpu_us, rate: window.rate() })
}

struct Settings {
    rounds: u32,
    window_s: f64,
    server_core: usize,
    client_core: usize,
}

fn report(
    args: &HttpArgs,
    series: &BTreeMap<Column, Series>,
    settings: Settings,
    machine: Facts,
    errors: BTreeSet<String>,
) -> Result<Report> {
    let ratio = |above: Column, below: Column| {
        Estimate::of_ratios(&series.get(&above)?.cpu_us(), &series.get(&below)?.cpu_us())
    };
    let nginx = ratio(Column::Hairtrigger, Column::Nginx);
    let floor = ratio(Column::Hairtrigger, Column::Floor);
    let floor_nginx = ratio(Column::Floor, Column::Nginx);
    let again = ratio(Column::NginxAgain, Column::Nginx);
    let mut servers = BTreeMap::new();
    for (column, series) in series {
        if *column != Column::NginxAgain {
            servers.insert(column.kind().name(), series.figures()?);
        }
    }
    Ok(Report {
        bench: "http",
        cpu_ratio_nginx: nginx.map(|ratio| ratio.median),
        cpu_ratio_nginx_lo95: nginx.map(|ratio| ratio.lo95),
        cpu_ratio_nginx_hi95: nginx.map(|ratio| ratio.hi95),
        cpu_ratio_floor: floor.map(|ratio| ratio.median),
        cpu_ratio_floor_lo95: floor.map(|ratio| ratio.lo95),
        cpu_ratio_floor_hi95: floor.map(|ratio| ratio.hi95),
        floor_ratio_nginx: floor_nginx.map(|ratio| ratio.median),
        floor_ratio_nginx_lo95: floor_nginx.map(|ratio| ratio.lo95),
        floor_ratio_nginx_hi95: floor_nginx.map(|ratio| ratio.hi95),
        nginx_aa_ratio: again.map(|ratio| ratio.median),
        nginx_aa_ratio_lo95: again.map(|ratio| ratio.lo95),
        nginx_aa_ratio_hi95: again.map(|ratio| ratio.hi95),
        servers,
        connections: args.connections,
        rounds: settings.rounds,
        window_s: settings.window_s,
        workers: args.workers,
        server_core: settings.server_core,
        client_core: settings.client_core,
        nginx_version: series
            .contains_key(&Column::Nginx)
            .then(|| find_program("nginx").map(|nginx| nginx_version(&nginx)))
            .flatten(),
        machine,
        errors,
    })
}

fn table(report: &Report) -> String {
    let mut text = format!(
        "\n{}\n{} connections, {} rounds of {} s, servers on core {}, client on core {}\n\n",
        report.machine.line(),
        report.connections,
        report.rounds,
        report.window_s,
        report.server_core,
        report.client_core
    );
    text += "server        CPU/request µs (95% bounds)   requests/s     p50 µs     p99 µs\n";
    for (name, figures) in &report.servers {
        let cpu = figures.cpu_us_per_request;
        text += &format!(
            "{name:<12}  {:>8.2}  ({:>6.2} – {:<6.2})   {:>12.0} {:>10.1} {:>10.1}\n",
            cpu.median, cpu.lo95, cpu.hi95, figures.requests_per_s, figures.p50_us, figures.p99_us
        );
    }
    text += "\nratio of CPU per request        median (95% bounds)\n";
    for (name, median, lo95, hi95) in [
        (
            "hairtrigger / nginx",
            report.cpu_ratio_nginx,
            report.cpu_ratio_nginx_lo95,
            report.cpu_ratio_nginx_hi95,
        ),
        (
            "hairtrigger / floor",
            report.cpu_ratio_floor,
            report.cpu_ratio_floor_lo95,
            report.cpu_ratio_floor_hi95,
        ),
        (
            "floor / nginx",
            report.floor_ratio_nginx,
            report.floor_ratio_nginx_lo95,
            report.floor_ratio_nginx_hi95,
        ),
        (
            "nginx / nginx (A/A)",
            report.nginx_aa_ratio,
            report.nginx_aa_ratio_lo95,
            report.nginx_aa_ratio_hi95,
        ),
    ] {
        if let (Some(median), Some(lo95), Some(hi95)) = (median, lo95, hi95) {
            text += &format!("{name:<28}  {median:>8.3}  ({lo95:.3} – {hi95:.3})\n");
        }
    }
    if report.server_core != report.client_core && report.machine.cores() <= 2 {
        text += "\nWith two cores, what else runs on this machine runs beside server or client: trust the CPU\n\
                 per request and its ratios, and take latencies for what they are.";
    }
    text
}
