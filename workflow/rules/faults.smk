# What is done about a run that was killed, and said about one that fails.

import disk
import leftovers

if workflow.exec_mode != ExecMode.SUBPROCESS:
    os.environ.update({leftovers.VARIABLE: leftovers.mark()})


onstart:
    if problem := disk.read_only(Path("results")):
        raise WorkflowError(problem)
    if names := leftovers.stop():
        logger.warning(
            "A Snakemake that was killed had left jobs running in this folder. They were stopped, "
            f"and start again where needed: {', '.join(names)}."
        )


onerror:
    without = [run for run in RUNS if not Path(f"results/{DOMAIN}/{run}/scores.csv").exists()]
    if 0 < len(without) < len(RUNS):
        logger.error(
            f"The other runs are finished, see results/{DOMAIN}/RUN/scores.csv. To report on them "
            f"without {', '.join(without)}, set these to null in the configuration, under runs."
        )
    if problem := disk.full(Path("results")):
        logger.error(problem)
    # by the shell's status of its script, and by Snakemake's of the shell
    killed = re.compile("exit status 137|Signals.SIGKILL")
    if any(killed.search(Path(name).read_text("utf-8", "replace")) for name in log):
        logger.error(
            "A job was killed from outside, as the system does where memory is short. Start again, "
            "with fewer --cores if that was it."
        )
