@echo off
rem Starts the installed `clawback` on Windows; `start` beside this file does the same elsewhere, and says why.
setlocal
set "settings=%CLAUDE_CONFIG_DIR%"
if not defined settings set "settings=%USERPROFILE%\.claude"
set "program="
for %%p in (
  "%settings%\channels\clawback\bin\clawback.cmd"
  "%~dp0..\.venv\Scripts\clawback.exe"
) do if not defined program if exist "%%~p" set "program=%%~p"
if not defined program for /f "delims=" %%p in ('where clawback.exe 2^>nul') do if not defined program set "program=%%p"
if not defined program if exist "%USERPROFILE%\.local\bin\clawback.exe" set "program=%USERPROFILE%\.local\bin\clawback.exe"
if defined program goto found
if "%~1"=="hook" goto hook
if "%~1"=="monitor" goto wait
echo clawback: the program is not installed, or not where this plugin looks: the PATH, "%USERPROFILE%\.local\bin".>&2
echo clawback: install Clawback, then run `clawback install` once.>&2
exit /b 127
:hook
if "%~2"=="SessionStart" echo {"systemMessage":"Clawback: no events here, because the program clawback was not found. Install it, then run: clawback install"}
exit /b 0
:wait
rem Claude Code begins a turn when a monitor ends, and ends this one itself.
ping -n 3600 127.0.0.1 >nul
goto wait
:found
"%program%" %*
exit /b %ERRORLEVEL%
