"""`survey`: one thin command for each thing the library can do; torch is imported only where needed."""

import click

OPTIONAL = "pip install -e '.[dask,deploy,transfer]' brings all that is optional"


class Survey(click.Group):
    """A refusal of the library says what is allowed and what to do: one line, not a traceback."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except (ValueError, OSError) as error:
            raise click.ClickException(str(error)) from error
        except ModuleNotFoundError as error:
            raise click.ClickException(f"{error.name} is not installed; {OPTIONAL}") from error


SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}


@click.group(cls=Survey, context_settings=SETTINGS)
@click.version_option(package_name="survey_lib")
def main() -> None:
    """Neural network pruning, from formula to measured time.

    \b
    survey reproduce --profile quick     run the course again: a small sweep, all notebooks, all figures
    survey methods --category filter     which methods there are
    survey prune --model resnet-20 --method l1-filter --sparsity 0.5 --out small.safetensors
    survey speed resnet-20               time it masked, cut, compiled, exported, on this machine
    survey results comparison            the published numbers of a study
    survey figure tradeoff               draw one figure again, with its data sheet
    survey COMMAND --help                everything about one command
    """


from survey_lib.cli import course, models, studies  # noqa: E402  the commands register themselves on `main`

for command in (*models.COMMANDS, *studies.COMMANDS, *course.COMMANDS):
    main.add_command(command)
