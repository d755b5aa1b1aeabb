PYTEST = """
[pytest]
python_files = tests.py
"""


class PytestMixin:
    worker_suffixes = ["_gw0", "_gw1"]

    def run_pytest(self, project, *options, conftest="", exit_code=0):
        """Run the project's tests with pytest and return the output."""
        (project.folder / "pytest.ini").write_text(PYTEST.lstrip())
        (project.folder / "conftest.py").write_text(conftest.lstrip())
        code, output = project.run("-m", "pytest", "-p", "no:cacheprovider", *options)
        self.assertEqual(code, exit_code, output)
        return output
