//! A function that does real work on real files: pictures made and measured by an independent tool.

use std::path::{Path, PathBuf};
use std::process::Command;

use hairtrigger_tests::artefacts;
use hairtrigger_tests::home::Home;

/// A program of ImageMagick's; version 7 has them all in `magick`.
fn imagemagick(tool: &str) -> Command {
    // A `convert` alone may be something else of that name.
    if let Some(magick) = artefacts::find_program("magick") {
        let mut command = Command::new(magick);
        command.args((tool != "convert").then_some(tool));
        return command;
    }
    let of_debian = PathBuf::from("/usr/bin").join(tool);
    assert!(
        of_debian.is_file(),
        "this test needs ImageMagick; install it (on Debian: apt-get install imagemagick)"
    );
    Command::new(of_debian)
}

fn said(mut command: Command) -> String {
    let output = command.output().expect("ImageMagick can be executed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn measure(file: &Path) -> String {
    let mut identify = imagemagick("identify");
    identify.args(["-format", "%m %w %h"]).arg(file);
    said(identify)
}

#[test]
fn pictures_come_back_as_wide_as_asked() {
    let home = Home::new();
    home.add("thumbnail", &artefacts::plugin("thumbnail"), "timeout = \"10s\"");
    let daemon = home.start();
    for (name, kind) in [("photo.jpg", "JPEG"), ("photo.png", "PNG")] {
        let (picture, small) = (home.path().join(name), home.path().join(format!("small-{name}")));
        let mut convert = imagemagick("convert");
        convert.args(["-size", "640x480", "plasma:red-blue"]).arg(&picture);
        said(convert);
        assert_eq!(measure(&picture), format!("{kind} 640 480"));
        let body = std::fs::read(&picture).expect("just made");
        let answer = daemon.connect().post("/thumbnail?width=64", &body);
        assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
        assert!(answer.header("content-type").starts_with("image/"));
        std::fs::write(&small, &answer.body).expect("writable");
        assert!(measure(&small).ends_with(" 64 48"), "{} of {name}", measure(&small));
    }
    let answer = daemon.connect().post("/thumbnail?width=64", b"not a picture at all");
    assert!((400..500).contains(&answer.status), "{answer:?}");
    daemon.stop();
}
