@echo off
rem The same for Windows; `spinesegdiff env` sets the interpreter and puts this folder first on the PATH.
if not defined spinesegdiff_python set spinesegdiff_python=python
"%spinesegdiff_python%" -c "import sys; sys.path[:] = [folder for folder in sys.path if folder]; from nnunetv2_spinesegdiff.inference.command import main; sys.exit(main())" %*
