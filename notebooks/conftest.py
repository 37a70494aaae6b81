"""nbval compares facts, not drawings: plotly's JSON and HTML differ from run to run."""


def pytest_collectstart(collector):
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += (
            "application/vnd.plotly.v1+json",
            "application/vnd.jupyter.widget-view+json",
            "text/html",
            "image/png",
            "image/svg+xml",
            "stderr",
        )
