//! `hairtrigger serve`

use std::path::Path;

use anyhow::Result;

use super::front::Lines;
use crate::config::Config;
use crate::control::{self, registry};

pub(super) fn run(path: &Path) -> Result<()> {
    let mut config = Config::load(path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    config.functions = directory.join(&config.functions);
    config.state = directory.join(&config.state);
    let functions = registry::deployed(&config.functions)?;
    control::run(&config, functions, &Lines::new(false), false)
}
