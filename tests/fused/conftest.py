"""A cache of compiled code for this run alone, and a reason where nothing can be compiled."""

import pytest

from neuralode.fused.build import CompilerError, compiler


@pytest.fixture(scope="session", autouse=True)
def _compiler(tmp_path_factory: pytest.TempPathFactory):
    try:
        compiler()
    except CompilerError as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEURALODE_CACHE", str(tmp_path_factory.mktemp("fused")))
        yield
