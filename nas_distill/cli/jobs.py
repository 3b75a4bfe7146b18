"""`nas_distill jobs`: run searches as jobs on a Ray cluster."""

from __future__ import annotations

from pathlib import Path

import click

from nas_distill.errors import ClusterError, ConfigError

_ADDRESS = click.option(
    "--address",
    envvar="RAY_API_SERVER_ADDRESS",
    default="http://127.0.0.1:8265",
    show_default=True,
    help="Address of the cluster's dashboard.  [env: RAY_API_SERVER_ADDRESS]",
)


@click.group(name="jobs", short_help="Run searches as jobs on a Ray cluster.")
def command() -> None:
    """Submit, watch and stop jobs on a Ray cluster, and fetch their reports.

    \b
    Examples:
      python -m nas_distill jobs submit -- search --data digits --out /shared/runs/digits
      python -m nas_distill jobs logs --follow nas_distill-1a2b3c4d
      python -m nas_distill jobs stop nas_distill-1a2b3c4d
      python -m nas_distill jobs submit -- search --resume /shared/runs/digits
      python -m nas_distill jobs fetch /shared/runs/digits --out digits
    """  # noqa: D301 - \b is click's mark for a block that is not rewrapped


@command.command(context_settings={"ignore_unknown_options": True})
@_ADDRESS
@click.option(
    "--working-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder to upload and to run the command in, such as one with your search space.",
)
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="Environment variable. Repeatable.")
@click.argument("arguments", nargs=-1, required=True)
def submit(address: str, working_dir: Path | None, variables: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    """Run `nas_distill ARGUMENTS` as a job, and print the job's name. Write -- before the arguments.

    A search needs --out (or --resume) with a path that all nodes share.
    """
    if arguments[0] == "search" and not {"--out", "--resume"} & {one.partition("=")[0] for one in arguments}:
        raise ConfigError(
            "is missing; give --out or --resume with a path that all nodes share",
            code="cli.job_without_out",
            field="--out",
        )
    pairs = dict(one.partition("=")[::2] for one in variables)
    from nas_distill.search.backend.jobs import Jobs

    click.echo(Jobs(address).submit(arguments, working_dir=working_dir, environment=pairs))


@command.command()
@_ADDRESS
@click.argument("job", required=False)
def status(address: str, job: str | None) -> None:
    """Print the state of JOB, or of all jobs."""
    from nas_distill.search.backend.jobs import Jobs

    jobs = Jobs(address)
    for name in jobs.names() if job is None else [job]:
        click.echo(f"{name}  {jobs.status(name)}  {jobs.describe(name)}".rstrip())


@command.command()
@_ADDRESS
@click.option("--follow", is_flag=True, help="Print until the job ends.")
@click.argument("job")
def logs(address: str, job: str, *, follow: bool) -> None:
    """Print the output of JOB."""
    from nas_distill.search.backend.jobs import Jobs

    jobs = Jobs(address)
    for text in jobs.follow(job) if follow else [jobs.logs(job)]:
        click.echo(text, nl=False)


@command.command()
@_ADDRESS
@click.argument("job")
def stop(address: str, job: str) -> None:
    """Stop JOB. Its run is saved: submit `search --resume RUN` to continue it."""
    from nas_distill.search.backend.jobs import Jobs

    jobs = Jobs(address)
    jobs.stop(job)
    click.echo(f"{job}  {jobs.status(job)}")


@command.command()
@_ADDRESS
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder to write to.")
@click.argument("run", metavar="RUN")
def fetch(address: str, out: Path, run: str) -> None:
    """Copy configuration, events and report of RUN, a path on the cluster, to this machine."""
    from nas_distill.run_directory.pack import unpack_run
    from nas_distill.search.backend.jobs import Jobs

    jobs = Jobs(address)
    job = jobs.submit(["jobs", "pack", run])
    if jobs.wait(job) != "succeeded":
        last = (jobs.logs(job).strip().splitlines() or [""])[-1]
        raise ClusterError(
            f"cannot be read on the cluster ({last}); give the path that the search was started with",
            code="cluster.run_not_fetched",
            field=run,
        )
    unpack_run(jobs.logs(job), out)
    click.echo(f"report: {out / 'report' / 'index.html'}")


@command.command(hidden=True)
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
def pack(run: Path) -> None:
    """Print RUN as text, for `fetch`."""
    from nas_distill.run_directory.layout import RunDirectory
    from nas_distill.run_directory.pack import pack_run

    click.echo(pack_run(RunDirectory(run).existing()))
