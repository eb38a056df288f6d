//! Prints an SVG of `subscriber top` with a changing table:
//! `cargo run -p tests --bin screenshot > docs/top.svg`

use std::num::NonZero;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use tests::programs::subscriber;
use tests::screen::Screen;
use tests::serving::Serving;
use vt100::{Cell, Color, Parser};

const COLUMNS: u16 = 80;
const LINES: u16 = 16;
/// Width and height of a character.
const STEP: (u16, u16) = (9, 19);
const NAMES: &str = "copper gold iridium iron lead nickel osmium platinum rhodium silver tin zinc";

fn main() {
    let fields = "name:text(16),price:f64,change:f64,traded:timestamp";
    let mut serving = Serving::start("prices", fields, &[]);
    serving.publish((0..12).map(|id| row(id, 0)));
    let mut screen =
        Screen::start(subscriber().args(["top", "prices", "--sort", "price:desc"]), COLUMNS, LINES);
    screen.shows("zinc");
    for step in 1..60 {
        serving.publish([row(step * 5 % 12, step), row(step * 7 % 12, step)]);
        sleep(Duration::from_millis(50));
    }
    let drawn = screen.formatted();
    screen.press("q");
    screen.ends_with(0);
    serving.stop(Signal::SIGTERM);

    let some = |number| NonZero::new(number).expect("a terminal has lines and columns");
    let mut parser = Parser::new(some(LINES), some(COLUMNS), 0);
    parser.process(drawn.as_bytes());
    print!("{}", svg(&parser));
}

fn row(id: usize, step: usize) -> String {
    let wave = ((id * 31 + step * 17) % 40) as f64 / 10.0 - 2.0;
    let name = NAMES.split(' ').nth(id).expect("one of twelve");
    let price = 20.0 + (id * 37 % 100) as f64 + wave;
    let traded = format!("2026-11-21T09:{:02}:{:02}Z", 30 + step / 60, step % 60);
    format!(r#"{{"name":"{name}","price":{price:.2},"change":{wave:.2},"traded":"{traded}"}}"#)
}

fn svg(parser: &Parser) -> String {
    let (width, height) = (COLUMNS * STEP.0 + 16, LINES * STEP.1 + 16);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="monospace" font-size="15">
<rect width="100%" height="100%" rx="6" fill="#1c1c1c"/>
"##
    );
    for (line, column) in (0..LINES).flat_map(|line| (0..COLUMNS).map(move |column| (line, column)))
    {
        let Some(cell) = parser.screen().cell(line, column) else {
            continue;
        };
        let (x, y) = (8 + column * STEP.0, 8 + line * STEP.1);
        let (ink, paper) = colours(cell);
        if let Some(paper) = paper {
            svg += &format!(
                "<rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" fill=\"{paper}\"/>\n",
                STEP.0, STEP.1
            );
        }
        let text = cell.contents().replace('&', "&amp;").replace('<', "&lt;");
        if !text.trim().is_empty() {
            let weight = if cell.bold() { " font-weight=\"bold\"" } else { "" };
            svg +=
                &format!("<text x=\"{x}\" y=\"{}\" fill=\"{ink}\"{weight}>{text}</text>\n", y + 15);
        }
    }
    svg + "</svg>\n"
}

/// Returns the colours of a cell's text and background.
fn colours(cell: &Cell) -> (String, Option<String>) {
    let grey = if cell.dim() { "#8a8a8a" } else { "#d0d0d0" };
    let (ink, paper) = (rgb(cell.fgcolor()), rgb(cell.bgcolor()));
    if cell.inverse() {
        return (paper.unwrap_or("#1c1c1c".to_owned()), Some(ink.unwrap_or(grey.to_owned())));
    }
    (ink.unwrap_or(grey.to_owned()), paper)
}

fn rgb(colour: Color) -> Option<String> {
    const PALETTE: &str = "3a3a3ae06c7598c379e5c07b61afefc678dd56b6c2d0d0d0";
    match colour {
        Color::Default => None,
        Color::Idx(index) => Some(format!("#{}", &PALETTE[usize::from(index % 8) * 6..][..6])),
        Color::Rgb(red, green, blue) => Some(format!("#{red:02x}{green:02x}{blue:02x}")),
    }
}
