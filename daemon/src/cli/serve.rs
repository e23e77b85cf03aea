//! `hairtrigger serve`

use anyhow::Result;

use super::front::Lines;
use crate::config::Origin;
use crate::control::{self, registry};

pub(super) fn run(origin: &Origin) -> Result<()> {
    let config = origin.load()?;
    let functions = registry::deployed(&config.functions)?;
    control::run(&config, functions, &Lines::new(false), false)
}
