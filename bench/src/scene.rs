//! What the benches of the pool have in common: the board on which the function of the benches stamps what it does.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use bench_plugin::board::{Board, Row};
use tempfile::TempDir;

/// A board, and the folder that its file is in.
#[derive(Debug)]
pub(crate) struct Scene {
    board: Board,
    file: PathBuf,
    _folder: TempDir,
}

impl Scene {
    /// A board with so many rows.
    ///
    /// # Errors
    /// If its file cannot be made.
    pub(crate) fn new(rows: usize) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("hairtrigger-board-").tempdir()?;
        // A function has a uid of its own, and sees nothing here but what it is granted.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711))?;
        let file = folder.path().join("board");
        let board = Board::create(&file, rows).context("making a board")?;
        fs::set_permissions(&file, Permissions::from_mode(0o666))?;
        Ok(Self { board, file, _folder: folder })
    }

    /// Its rows.
    pub(crate) fn rows(&self) -> &[Row] {
        self.board.rows()
    }

    /// What the manifest of a function says that writes to it: the last of the manifest, for these are tables.
    pub(crate) fn grant(&self) -> String {
        let file = self.file.display();
        format!("[allow]\nwrite = [\"{file}\"]\n[env]\n{} = \"{file}\"\n", bench_plugin::BOARD)
    }
}
