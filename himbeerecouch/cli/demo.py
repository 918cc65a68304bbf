"""``himbeerecouch demo``: all of it on one machine."""

from __future__ import annotations

import click


@click.command()
@click.argument("examples", required=False, metavar="[FOLDER]")
@click.pass_context
def demo(ctx: click.Context, /, examples: str | None) -> None:
    """Show it all on this machine: a database, a page, a Pi and programs.

    The programs are the examples of himbeerecouch, or those of FOLDER. Says what to try; Ctrl-C ends all of it, and
    nothing is left.

    \b
    Example:
      himbeerecouch demo
    """
    from himbeerecouch import demo

    ctx.exit(demo.main([examples] if examples else []))
