"""Finds the packages: components/ and pipelines/ stand at the top, and install in the package."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["millrace", "millrace.*"]),
        *(
            f"millrace.{name}"
            for name in find_packages(include=["components", "components.*"])
            + find_packages(include=["pipelines", "pipelines.*"])
        ),
    ]
)
