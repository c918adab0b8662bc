"""Commands about notebooks, figures, classes and the site."""

from collections.abc import Sequence
from pathlib import Path

import click
import yaml

from survey_lib.cli import DIRECTORY, main


@main.group()
def notebooks() -> None:
    """Execute the notebooks of the course."""


@notebooks.command()
@click.argument("names", nargs=-1)
@click.option("-p", "--parameter", nargs=2, multiple=True, metavar="NAME VALUE", help="May be repeated.")
@click.option("--jobs", default=2, type=click.IntRange(1), help="Notebooks at a time.")
@click.option("--out", default="build/notebooks", type=DIRECTORY, help="Folder.")
@click.option("--publish", is_flag=True, help="Normalise the results and put them into notebooks/.")
def run(names: tuple[str, ...], parameter: tuple, jobs: int, out: Path, publish: bool) -> None:
    """Execute notebooks into a folder.

    They are those whose names contain one of NAMES; without one, all.

    \b
    survey notebooks run -p profile quick                   compute a small grid, in place of reading published runs
    survey notebooks run 07 -p profile quick -p seed 3
    survey notebooks run 07 --publish
    """
    from survey_lib.course import notebooks as runner

    try:
        chosen = {name: yaml.safe_load(value) for name, value in parameter}
    except yaml.YAMLError as error:
        raise click.BadParameter(f"a value is no YAML: {error}", param_hint="--parameter") from error
    if publish and chosen:
        raise click.UsageError("--publish takes no parameters: the published profile is committed")
    runs = []
    for done in runner.run_all(choose(names), chosen, out, jobs, again=True):
        click.echo(done.line())
        runs.append(done)
    failed = [done.name for done in runs if done.failure]
    if failed:
        raise click.ClickException(f"{len(failed)} of {len(runs)} notebooks failed: {', '.join(failed)}")
    for done in runs if publish else ():
        runner.publish(done)


def choose(names: Sequence[str] = ()) -> list[Path]:
    """Notebooks whose names contain one of the words, where 7 means 07; FileNotFoundError names what there is."""
    from survey_lib.course.notebooks import FOLDER
    from survey_lib.repository import needed

    there = sorted(needed(FOLDER).glob("*.ipynb"))
    names = [name.zfill(2) for name in names]
    for name in names:
        if not any(name in path.name for path in there):
            known = ", ".join(path.stem for path in there)
            raise FileNotFoundError(f"no notebook {name!r} in {FOLDER}; there are: {known}")
    return [path for path in there if not names or any(name in path.name for name in names)]


@main.command()
@click.argument("names", nargs=-1)
@click.option("--check/--write", default=True, help="Name the numbers that do not hold, or update them.")
def text(names: tuple[str, ...], check: bool) -> None:
    """Check the numbers in the prose of notebooks, or update them.

    NAMES are parts of names of notebooks; without one, all are checked, and the README.

    A number is followed by a hidden comment that computes it: `0.4 points<!--= finding("random").points()
    -->`.
    """
    from survey_lib.course import prose
    from survey_lib.site.generate import README

    paths = choose(names) + ([] if names else [README])
    if not check:
        for path in paths:
            click.echo(f"{path.name}: {prose.write(path)} texts changed")
    elif faults := [fault for path in paths for fault in prose.faults(path)]:
        raise click.ClickException("\n".join([*faults, "to update what is computed: survey text --write"]))
    else:
        click.echo(f"the numbers in the prose of {len(paths)} files are as computed")


@main.command()
@click.argument("name")
@click.option("--out", default="figures", type=DIRECTORY, help="Folder.")
def figure(name: str, out: Path) -> None:
    """Draw the figure NAME, or `all`, from the published runs.

    Written are NAME.png, .svg, .pdf, and NAME.json: caption, data, and the runs behind them.
    """
    from survey_lib.figures.catalogue import FIGURES
    from survey_lib.figures.catalogue import figure as draw

    for one in FIGURES if name == "all" else [name]:
        click.echo(f"{one}: {', '.join(str(path) for path in draw(one, out))}")


@main.command()
@click.argument("name")
def cite(name: str) -> None:
    """Print BibTeX for the figure, or for the paper, called NAME."""
    from survey_lib.figures.catalogue import cite as entry

    click.echo(entry(name))


@main.command()
@click.argument("out", type=DIRECTORY)
def student(out: Path) -> None:
    """Write copies of the notebooks for students into OUT.

    They hold no solutions and no outputs. Nothing that somebody has worked on is overwritten.
    """
    from survey_lib.course.classroom import student as copy

    click.echo("\n".join(map(str, copy(choose(), out))))


@main.command("class")
@click.argument("out", metavar="NAME", type=DIRECTORY)
@click.option("--notebooks", "numbers", required=True, help="Which ones, such as 02,07.")
def classroom(out: Path, numbers: str) -> None:
    """Make a folder for a class.

    The folder NAME holds a course for nbgrader, and copies for students.

    \b
    survey class pruning --notebooks 02,07
    """
    from survey_lib.course.classroom import course_folder

    points = course_folder(choose(numbers.split(",")), out)
    click.echo("\n".join(f"{name}: {count} points" for name, count in points.items()))
    click.echo(f"wrote {out}: source for nbgrader, student; docs/teaching.md says what comes next")


@main.command()
def generate() -> None:
    """Write again what is generated: tables, citations, pictures.

    These are tables of README and docs, references.bib, findings.json and thumbnails.

    Links that read or launch the repository appear once CITATION.cff names it in `repository-code`.
    """
    from survey_lib.analysis.claims import write as write_findings
    from survey_lib.analysis.literature import write_bibliography
    from survey_lib.figures.catalogue import thumbnails
    from survey_lib.site.generate import update

    written = [write_findings(), *update(), write_bibliography()]
    click.echo(f"wrote {', '.join(path.name for path in written)} and {len(thumbnails())} thumbnails")


@main.command()
@click.argument("out", default="build/site-source", type=click.Path(path_type=Path))
def site(out: Path) -> None:
    """Write the source of the site into OUT; `make site` builds it.

    It has the notebooks, a card for each method, the figures and the tables.
    """
    from survey_lib.site.generate import write_source

    click.echo("drawing the figures, which takes half a minute")
    click.echo(f"wrote {write_source(out)}")
